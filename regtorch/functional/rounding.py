"""Rounding to half precision in a chosen direction, so that a bound holds for what is stored."""

from __future__ import annotations

import torch
from torch import Tensor

#: by how much of itself a float32 norm may be beyond a bound by rounding alone; weights within it are left as they are
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
        wide: float32 or float64.
        dtype: bfloat16 or float16.
        away: where to round away from zero, as far as there is a finite number to round to; broadcasts.

    Example:
        >>> third = torch.tensor([1 / 3])
        >>> rounded(third, torch.bfloat16).item() < third.item() < rounded(third, torch.bfloat16, away=True).item()
        True
    """
    nearest = wide.to(dtype)
    difference = nearest.to(wide.dtype).abs() - wide.abs()
    # the bits of a number without its sign are in the order of its size, so the neighbour's are one more or one less
    bits = nearest.view(torch.int16)
    towards_zero = (bits - (difference > 0).to(torch.int16)).view(dtype)
    if away is False:
        return towards_zero
    away_from_zero = (bits + (difference < 0).to(torch.int16)).view(dtype)
    finite = away_from_zero.abs() <= torch.finfo(dtype).max
    return torch.where(
        torch.logical_and(finite, torch.as_tensor(away, device=wide.device)), away_from_zero, towards_zero
    )
