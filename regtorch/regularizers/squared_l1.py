"""The squared L1 penalty."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.squared_l1 import squared_l1, squared_l1_total
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "squared_l1")
class SquaredL1(Regularizer):
    """Square of the L1 norm, per tensor: ``factor * (sum|w|)^2``. See `regtorch.functional.squared_l1`.

    Args:
        factor: strength, >= 0.

    Raises:
        SettingError: a negative factor.

    Example:
        >>> import torch
        >>> SquaredL1(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.9000)
    """

    def __init__(self, factor: float = 0.001) -> None:
        super().__init__()
        check(factor=factor)
        self.factor = float(factor)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return squared_l1(w, factor=self.factor)

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, with one reduction for all."""
        return squared_l1_total(weights, self.factor)
