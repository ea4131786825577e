"""Dropout of an exact number of units."""

from __future__ import annotations

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.exact_count_dropout import exact_count_dropout
from regtorch.registry import register


@register("dropout", "exact_count")
class ExactCountDropout(ProbabilityDropout):
    """Zeroes exactly ``ceil(drop_prob * n)`` of each sample's n units. See `regtorch.functional.exact_count_dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> import torch
        >>> ExactCountDropout(drop_prob=0.5)(torch.ones(3, 10)).sum(dim=1)
        tensor([10., 10., 10.])
    """

    effect = "scale"

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return exact_count_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
