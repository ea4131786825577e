"""Application of a mask; the gradient stores one byte per unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regtorch.functional.full_precision import widened
from regtorch.functional.transformed import needs_plain_operations, transformed


def masked(x: Tensor, mask: Tensor, *, scale: float, shift: float = 0.0, fill: float = 0.0) -> Tensor:
    """``scale * (x + shift) + fill`` where the mask is True, `fill` elsewhere.

    Args:
        x: floating point, any shape.
        mask: bool, broadcasts to x's shape.
        scale: factor of kept units.
        shift: added before scaling.
        fill: value of dropped units.

    Example:
        >>> masked(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), scale=2.0)
        tensor([2., 0.])
    """
    if transformed() or needs_plain_operations():
        filling = x.new_zeros(()) + fill  # a plain number in `where` would be compiled as a constant
        return torch.where(mask, x * scale + (shift * scale + fill), filling)
    result: Tensor = _Masked.apply(x, mask, scale, shift, fill)
    return result


class _Masked(torch.autograd.Function):
    """The derivative is the same function, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float, shift: float, fill: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        wide = widened(x) if shift else x  # without a shift only the scaling rounds
        kept = mask.view(torch.uint8).to(wide.dtype)  # the conversion from bool is 6 times slower
        same_layout = kept.shape == wide.shape and kept.stride() == wide.stride()
        out = kept if same_layout else torch.empty_like(wide)  # with the memory layout of x
        if shift:  # one pass for kept * (1 + x / shift), another one for the scale and the fill
            torch.addcmul(kept, kept, wide, value=1 / shift, out=out)
            torch.add(out.new_tensor(fill), out, alpha=scale * shift, out=out)
        else:
            torch.mul(wide, kept, out=out).mul_(scale)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        return masked(grad, mask, scale=ctx.scale), None, None, None, None
