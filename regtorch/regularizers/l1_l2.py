"""L1 and L2 together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.l1_l2 import l1_l2
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "l1_l2")
class L1L2(Regularizer):
    """Elastic net: ``l1 * sum|w| + l2 * sum w^2``. See `regtorch.functional.l1_l2`.

    Args:
        l1: strength of the absolute values, >= 0.
        l2: strength of the squares, >= 0; torch's coupled ``weight_decay=d`` equals ``l2=d/2``.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L1L2(l1=0.1, l2=0.01)(torch.tensor([1.0, -2.0]))
        tensor(0.3500)
    """

    def __init__(self, l1: float = 0.01, l2: float = 0.01) -> None:
        super().__init__()
        check(l1=l1, l2=l2)
        self.l1 = float(l1)
        self.l2 = float(l2)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l1_l2(w, l1=self.l1, l2=self.l2)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l1_l2(*weights, l1=self.l1, l2=self.l2)
