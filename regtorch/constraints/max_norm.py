"""The max-norm constraint."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.constraints.base import NormConstraint, as_dims
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.rounding import SLACK, is_half
from regtorch.tensor_ops.transformed import needs_plain_operations
from regtorch.tensor_ops.unit_norms import is_plain, norm_dims, rescale, unit_norms

__all__ = ["MaxNorm", "max_norm"]


def max_norm(
    w: Tensor,
    max_value: float,
    dims: int | tuple[int, ...] | None = None,
    *,
    out: Tensor | None = None,
    norms: Tensor | None = None,
) -> Tensor:
    """Nearest weights whose units have norm at most `max_value`: ``argmin |v - w|  s.t.  ||v_u|| <= max_value``.

    A unit outside the ball is scaled onto it; one inside stays bit-identical. In bfloat16 and float16 the scaled weights
    are rounded towards zero, so that the bound holds for the stored values.

    Args:
        w: a weight with its output units in the first dimension: (out, in) or (out, in, *kernel).
        max_value: the radius.
        dims: the dimensions that make up one unit's incoming weights; by default all but the first; for a
            vector its only one.
        out: where to write the result; `w` itself projects in place.
        norms: the units' norms if already known, shaped as returned by `unit_norms`.

    Source: Srebro and Shraibman, 2005; Srivastava et al., "Dropout", 2014.

    Example:
        >>> max_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), max_value=1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    check_tensor(w, "max_norm")
    if dims is None and w.ndim > 1 and is_plain(w) and not needs_plain_operations():  # the fused kernel
        return torch.renorm(w, 2, 0, max_value) if out is None else w.renorm_(2, 0, max_value)
    if norms is None:
        norms = unit_norms(w, norm_dims(w, dims))
    if is_half(w):
        scale = torch.where(norms > max_value * (1 + SLACK), max_value / norms, 1.0)
        return rescale(w, scale, out, away=False)
    return rescale(w, torch.where(norms > max_value, max_value / (norms + 1e-7), 1.0), out)


@register("constraint", "max_norm")
class MaxNorm(NormConstraint):
    """Projection of each unit onto the ball of radius `max_value`. See `regtorch.functional.max_norm`.

    Args:
        max_value: the radius, > 0.
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: the radius is not positive, or `dims` are invalid.

    Example:
        >>> import torch
        >>> MaxNorm(1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """

    def __init__(self, max_value: float = 2.0, dims: int | tuple[int, ...] | None = None) -> None:
        super().__init__()
        check(max_value=max_value, dims=dims)
        self.max_value = float(max_value)
        self.dims = as_dims(dims)

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The tensor with constrained unit norms."""
        return max_norm(w, self.max_value, self.dims, out=out, norms=norms)
