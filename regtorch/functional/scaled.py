"""Product of a scalar tensor and a number, in the tensor's dtype also in forward mode."""

import torch
from torch import Tensor

from regtorch.functional.transformed import needs_plain_operations


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
