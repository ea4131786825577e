"""Products and sums of 0-dim tensors: all derivatives keep their dtype, and devices may differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regtorch.tensor_ops.transformed import needs_plain_operations


def scaled(value: Tensor, factor: float) -> Tensor:
    """``factor * value`` of a 0-dim tensor; all derivatives have its dtype.

    In forward mode torch's product of a 0-dim float32 tensor and a Python number has a float64 tangent.

    Example:
        >>> scaled(torch.tensor(2.0), 0.5)
        tensor(1.)
    """
    if needs_plain_operations():
        return value * torch.full((), factor, dtype=value.dtype, device=value.device)
    return value * factor


def summed(parts: Sequence[Tensor]) -> Tensor:
    """The sum of 0-dim tensors, on the device of the first one; on the meta device if one of them is there.

    Args:
        parts: 0-dim tensors, at least one.

    Example:
        >>> summed([torch.tensor(1.0), torch.tensor(2.0)])
        tensor(3.)
    """
    if len(parts) == 1:
        return parts[0]
    device = next((part.device for part in parts if part.is_meta), parts[0].device)
    return torch.stack([part.to(device) for part in parts]).sum()
