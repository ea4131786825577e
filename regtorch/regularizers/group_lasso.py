"""The group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from regtorch.functional.group_lasso import group_lasso, group_lasso_total
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "group_lasso")
class GroupLasso(Regularizer):
    """Norms of the units' incoming weights: ``strength * sum_u ||w_u||``. See `regtorch.functional.group_lasso`.

    Args:
        strength: penalty of a unit of norm 1, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> GroupLasso(0.1)(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor(0.5000)
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return group_lasso(w, strength=self.strength)

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, with one reduction for all."""
        return group_lasso_total(weights, self.strength)
