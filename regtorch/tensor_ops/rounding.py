"""Directed rounding to half precision, so that bounds hold for the stored values."""

from __future__ import annotations

import torch
from torch import Tensor

#: the relative rounding error of a float32 norm; weights that exceed a bound by less are not changed
SLACK = 5e-7


def is_half(w: Tensor) -> bool:
    """Whether `w` is bfloat16 or float16.

    Example:
        >>> is_half(torch.ones(2))
        False
    """
    return w.dtype in (torch.bfloat16, torch.float16)


def rounded(wide: Tensor, dtype: torch.dtype, away: Tensor | bool = False) -> Tensor:
    """`wide` in half precision, rounded towards zero, or away from it.

    Args:
        wide: float32, finite.
        dtype: bfloat16 or float16.
        away: where to round away from zero, if there is a larger number; broadcasts.

    Example:
        >>> third = torch.tensor([1 / 3])
        >>> rounded(third, torch.bfloat16).item() < third.item() < rounded(third, torch.bfloat16, away=True).item()
        True
    """
    # float32 bits that the narrower type lacks; compilers optimize away a conversion there and back
    unseen = 1 << (16 if dtype == torch.bfloat16 else 13)
    bits = wide.view(torch.int32)
    towards_zero = (bits & -unseen).view(torch.float32)
    next_one = ((bits & -unseen) + unseen).view(torch.float32)  # bit patterns are ordered like the numbers
    if dtype == torch.float16:  # subnormal numbers of float16 are multiples of one step
        step = 2.0**-24
        tiny = wide.abs() < 2.0**-14
        towards_zero = torch.where(tiny, torch.trunc(wide / step) * step, towards_zero)
        next_one = torch.where(tiny, towards_zero + torch.sign(wide) * step, next_one)
    largest = torch.finfo(dtype).max
    result = torch.where((towards_zero != wide) & torch.as_tensor(away, device=wide.device), next_one, towards_zero)
    return result.clamp(-largest, largest).to(dtype)
