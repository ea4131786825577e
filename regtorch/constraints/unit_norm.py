"""The unit-norm constraint."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.constraints.base import Constraint, as_dims
from regtorch.functional.unit_norm import unit_norm
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "unit_norm")
class UnitNorm(Constraint):
    """Each unit scaled to norm 1. See `regtorch.functional.unit_norm`.

    Args:
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: dims that are no dimensions.

    Example:
        >>> import torch
        >>> UnitNorm()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, dims: int | tuple[int, ...] | None = None) -> None:
        super().__init__()
        check(dims=dims)
        self.dims = as_dims(dims)

    def forward(self, w: Tensor) -> Tensor:
        """One tensor with units of norm 1."""
        return unit_norm(w, self.dims)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """The same in place."""
        unit_norm(w, self.dims, out=w)
