"""Dropout that keeps mean 0 and variance 1."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.alpha_dropout import alpha_dropout
from regtorch.registry import register


@register("dropout", "alpha")
class AlphaDropout(ProbabilityDropout):
    """Keeps mean 0 and variance 1, for SELU networks. See `regtorch.functional.alpha_dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> AlphaDropout(keep_prob=0.9)
        AlphaDropout(drop_prob=0.1, keep_prob=0.9)
    """

    effect = "affine"
    default_drop_prob: ClassVar[float] = 0.1

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return alpha_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
