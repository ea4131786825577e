"""The unit-norm constraint."""

from __future__ import annotations

from torch import Tensor

from regtorch.constraints.base import as_dims
from regtorch.constraints.by_norm import NormConstraint
from regtorch.functional.unit_norm import unit_norm
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "unit_norm")
class UnitNorm(NormConstraint):
    """Scales each unit to norm 1. See `regtorch.functional.unit_norm`.

    Args:
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: `dims` are invalid.

    Example:
        >>> import torch
        >>> UnitNorm()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    def __init__(self, dims: int | tuple[int, ...] | None = None) -> None:
        super().__init__()
        check(dims=dims)
        self.dims = as_dims(dims)

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The tensor with constrained unit norms."""
        return unit_norm(w, self.dims, out=out, norms=norms)
