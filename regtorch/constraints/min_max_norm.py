"""The min-max-norm constraint."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.constraints.base import NormConstraint, as_dims
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.rounding import SLACK, is_half
from regtorch.tensor_ops.unit_norms import norm_dims, rescale, unit_norms

__all__ = ["MinMaxNorm", "min_max_norm"]


def min_max_norm(
    w: Tensor,
    min_value: float,
    max_value: float,
    rate: float = 1.0,
    dims: int | tuple[int, ...] | None = None,
    *,
    out: Tensor | None = None,
    norms: Tensor | None = None,
) -> Tensor:
    """Move the units' norms into [min_value, max_value]: ``w_u * (rate * clip(n) + (1 - rate) * n) / n``, n = ||w_u||.

    With ``rate=1`` this is the projection; a smaller rate applies that fraction of the correction and is not idempotent.
    A unit inside stays bit-identical, and a unit of zeros stays zero. In bfloat16 and float16, with ``rate=1``, the bounds
    hold for the stored values, as weights are rounded to the inside. If the interval is narrower than the resolution of
    the type, the upper bound holds, and the lower one holds up to rounding.

    Args:
        w: a weight with its output units in the first dimension.
        min_value: smallest norm.
        max_value: largest norm.
        rate: fraction of the correction per step, from 0 to 1.
        dims: the dimensions that make up one unit's incoming weights; by default all but the first.
        out: where to write the result; `w` itself works in place.
        norms: the units' norms if already known, shaped as returned by `unit_norms`.

    Source: Keras' ``MinMaxNorm``, with its 1e-7 added to the norm.

    Example:
        >>> min_max_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), min_value=1.0, max_value=2.0)
        tensor([[1.2000, 1.6000],
                [0.6000, 0.8000]])
    """
    check_tensor(w, "min_max_norm")
    if norms is None:
        norms = unit_norms(w, norm_dims(w, dims))
    if is_half(w) and rate == 1.0:
        return _of_half(w, min_value, max_value, norms, out)
    wanted = norms.clamp(min_value, max_value)
    scale = torch.where(wanted == norms, 1.0, (rate * wanted + (1 - rate) * norms) / (norms + 1e-7))
    return rescale(w, scale, out)


def _of_half(w: Tensor, min_value: float, max_value: float, norms: Tensor, out: Tensor | None) -> Tensor:
    """The projection, rounded to the inside of the interval."""
    eps = torch.finfo(w.dtype).eps  # directed rounding changes a norm by at most this fraction
    narrow = min_value * (1 + eps) > max_value  # then a growing unit must not be rounded up
    lowest = max_value * (1 - eps) if narrow else min_value
    small = (norms < lowest * (1 - SLACK)) & (norms > 0)
    scale = torch.where(norms > max_value * (1 + SLACK), max_value / norms, 1.0)
    scale = torch.where(small, (max_value if narrow else min_value) / norms, scale)
    return rescale(w, scale, out, away=False if narrow else small)


@register("constraint", "min_max_norm")
class MinMaxNorm(NormConstraint):
    """Moves the norm of each unit into [min_value, max_value]. See `regtorch.functional.min_max_norm`.

    Args:
        min_value: smallest norm, >= 0.
        max_value: largest norm, > 0, not below `min_value`.
        rate: fraction of the correction per step, from 0 to 1; below 1 the constraint is not idempotent.
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> import torch
        >>> MinMaxNorm(1.0, 2.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[1.2000, 1.6000],
                [0.6000, 0.8000]])
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        dims: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        check(min_value=min_value, max_value=max_value, rate=rate, dims=dims)
        if min_value > max_value:
            raise SettingError(f"min_value={min_value} is not allowed: it must be at most max_value={max_value}")
        self.min_value = float(min_value)
        self.max_value = float(max_value)
        self.rate = float(rate)
        self.dims = as_dims(dims)

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The tensor with constrained unit norms."""
        return min_max_norm(w, self.min_value, self.max_value, self.rate, self.dims, out=out, norms=norms)
