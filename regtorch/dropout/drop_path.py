"""Stochastic depth: dropout of branches."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.drop_path import drop_path
from regtorch.registry import register


@register("dropout", "drop_path")
class DropPath(ProbabilityDropout):
    """Zeroes the branch of a sample: ``x + drop_path(branch(x))``. See `regtorch.functional.drop_path`.

    Args:
        drop_prob: probability that a sample's branch is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> DropPath(drop_prob=0.1)
        DropPath(drop_prob=0.1, keep_prob=0.9)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return drop_path(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
