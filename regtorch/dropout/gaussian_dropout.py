"""Multiplicative Gaussian noise."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.gaussian_dropout import gaussian_dropout
from regtorch.registry import register


@register("dropout", "gaussian")
class GaussianDropout(ProbabilityDropout):
    """Multiplies by ``N(1, drop_prob / keep_prob)``. See `regtorch.functional.gaussian_dropout`.

    Args:
        drop_prob: probability of the dropout with the same variance, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> GaussianDropout(drop_prob=0.2)
        GaussianDropout(drop_prob=0.2, keep_prob=0.8)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.2

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return gaussian_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
