"""The L1 penalty."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.l1 import l1
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "l1")
class L1(Regularizer):
    """Lasso: ``l1 * sum|w|``. See `regtorch.functional.l1`.

    Args:
        l1: strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L1(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.3000)
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__()
        check(l1=l1)
        self.l1 = float(l1)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l1(w, l1=self.l1)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l1(*weights, l1=self.l1)
