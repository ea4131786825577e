"""Inverted dropout."""

from __future__ import annotations

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.dropout import dropout
from regtorch.registry import register


@register("dropout", "standard")
class Dropout(ProbabilityDropout):
    """Zeroes units and scales the others by ``1 / keep_prob``. See `regtorch.functional.dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> Dropout(keep_prob=0.8)
        Dropout(drop_prob=0.2, keep_prob=0.8)
    """

    effect = "scale"

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
