"""Whether two ways of computing the same thing gave the same numbers, up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regtorch.mc.structure import tensors_of


def allclose_scaled(found: Tensor, wanted: Tensor, roughly: bool = False) -> bool:
    """Whether two tensors agree to a thousandth of the largest entry, half-precision ones to a twentieth.

    Other masks differ by far more; rounding by far less.

    Args:
        found: one of the two.
        wanted: the other one.
        roughly: a twentieth in any case, as half precision may be within.

    Example:
        >>> allclose_scaled(torch.ones(2), torch.ones(2) + 1e-6), allclose_scaled(torch.ones(2), torch.zeros(2))
        (True, False)
    """
    if found.shape != wanted.shape:
        return False
    fine = 1e-3 if wanted.dtype in (torch.float32, torch.float64) and not roughly else 5e-2
    found, wanted = (v.double().nan_to_num(nan=0.0) for v in (found, wanted))
    scale = wanted.abs().amax() if wanted.numel() else 0.0
    return bool(((found - wanted).abs() <= fine * scale + 1e-12).all())


def same_values(a: Any, b: Any) -> bool:
    """Whether two structures of the same type hold tensors that agree, one by one."""
    found, wanted = tensors_of(a), tensors_of(b)
    if type(a) is not type(b) or len(found) != len(wanted):
        return False
    return all(x.shape == y.shape and allclose_scaled(x, y) for x, y in zip(found, wanted, strict=True))
