"""The unit-norm constraint."""

from __future__ import annotations

from torch import Tensor

from regtorch.constraints.base import NormConstraint, as_dims
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.unit_norms import norm_dims, rescale, unit_norms

__all__ = ["UnitNorm", "unit_norm"]


def unit_norm(
    w: Tensor, dims: int | tuple[int, ...] | None = None, *, out: Tensor | None = None, norms: Tensor | None = None
) -> Tensor:
    """Scale each unit to norm 1: ``w_u / (||w_u|| + 1e-7)``; a unit of zeros stays zero.

    Args:
        w: a weight with its output units in the first dimension.
        dims: the dimensions that make up one unit's incoming weights; by default all but the first.
        out: where to write the result; `w` itself works in place.
        norms: the units' norms if already known, shaped as returned by `unit_norms`.

    Source: Keras' ``UnitNorm``, with its 1e-7 added to the norm.

    Example:
        >>> import torch
        >>> unit_norm(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    check_tensor(w, "unit_norm")
    if norms is None:
        norms = unit_norms(w, norm_dims(w, dims))
    return rescale(w, 1.0 / (norms + 1e-7), out)


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
