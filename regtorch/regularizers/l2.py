"""The L2 penalty."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.l2 import l2
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "l2")
class L2(Regularizer):
    """Ridge: ``l2 * sum w^2``. See `regtorch.functional.l2`.

    Args:
        l2: strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L2(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.5000)
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__()
        check(l2=l2)
        self.l2 = float(l2)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l2(w, l2=self.l2)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l2(*weights, l2=self.l2)
