"""Random keep masks, exact probabilities from 8 random bits per unit, and tensors to which a mask is applied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.transformed import needs_plain_operations, transformed

_LEVELS = 256

#: the number of words from which starting another generator pays off
_MANY_WORDS = 4096


def generator_kwargs(generator: torch.Generator | None) -> dict[str, Any]:
    """``generator=`` for torch's random functions, left out if it is None: that prevents dynamic shapes in torch.compile."""
    return {} if generator is None else {"generator": generator}


def keep_mask(
    shape: Sequence[int],
    drop_prob: float,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Independent draws, each True with probability ``1 - drop_prob``.

    On the CPU a unit needs 8 random bits instead of a float. The remainder of the probability beyond 8 bits is scattered
    over the units as a Poisson process, so the draws stay independent and the probability exact, for 1e-6 as well as for
    0.3. On other devices, and when compiled, the probability is that of a float32 draw: a multiple of 2^-24.

    Args:
        shape: the shape of the mask.
        drop_prob: probability of False, from 0 to 1.
        device: where to draw.
        generator: source of all randomness; by default torch's own.

    Returns:
        A bool tensor.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> kept = keep_mask((1000, 1000), drop_prob=0.3)
        >>> round(kept.double().mean().item(), 2)
        0.7
    """
    if torch.device(device).type != "cpu" or transformed():
        return torch.rand(tuple(shape), device=device, **generator_kwargs(generator)) >= drop_prob
    size = math.prod(shape)
    drops_are_rare = drop_prob <= 0.5
    rest, level = math.modf(min(drop_prob, 1 - drop_prob) * _LEVELS)
    bits = random_bits(size, torch.uint8, generator)
    mask = (bits.ge_(int(level)) if drops_are_rare else bits.lt_(int(level))).view(torch.bool)
    if rest and size:
        # each unit is hit at least once with probability rest / (_LEVELS - level), independently of all others
        hits_per_unit = -math.log1p(-rest / (_LEVELS - level))
        hits = int(torch.poisson(torch.tensor(size * hits_per_unit, dtype=torch.float64), generator=generator))
        mask[torch.randint(size, (hits,), generator=generator)] = not drops_are_rare
    return mask.view(tuple(shape))


def unit_mask(x: Tensor, drop_prob: float, *, generator: torch.Generator | None, shared: bool) -> Tensor:
    """A `keep_mask` of one draw for each unit of `x`; `shared`: for each unit of one row, the same for every row."""
    mask = keep_mask(rows_shape(x, shared), drop_prob, device=x.device, generator=generator)
    if shared or x.is_contiguous() or not x.is_cpu or transformed():
        return mask
    # in the memory layout of x, which is faster to apply
    return mask.as_strided(mask.shape, torch.empty_like(x, device="meta").stride())


def feature_mask(x: Tensor, drop_prob: float, *, dims: int, generator: torch.Generator | None, shared: bool) -> Tensor:
    """A `keep_mask` with one draw for each index of the first `dims` dimensions, shaped so that it multiplies `x`."""
    shape = (*rows_shape(x, shared)[:dims], *[1] * (x.ndim - dims))
    return keep_mask(shape, drop_prob, device=x.device, generator=generator)


def rows_shape(x: Tensor, shared: bool) -> tuple[int, ...]:
    """The shape of the noise for `x`: its own, or that of a single row shared by all."""
    return (1, *x.shape[1:]) if shared and x.ndim else tuple(x.shape)


def random_bits(size: int, dtype: torch.dtype, generator: torch.Generator | None) -> Tensor:
    """`size` integers on the CPU, uniform over all values of `dtype`: 64 bits are drawn at a time and split.

    Large draws use NumPy's SFC64, seeded by a draw of the generator: twice as fast as torch's own bits.
    """
    count = -(-size * dtype.itemsize // 8)
    if count < _MANY_WORDS:
        words = torch.empty(count, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    else:
        start = torch.empty((), dtype=torch.int64).random_(generator=generator)  # 0 to 2^63 - 1
        words = torch.from_numpy(np.random.SFC64(int(start)).random_raw(count).view(np.int64))
    return words.view(dtype)[:size]


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
