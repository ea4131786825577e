"""A scalar tensor times a number, in the tensor's type in forward mode too."""

import torch
from torch import Tensor

from regtorch.functional.transformed import needs_plain_operations


def scaled(value: Tensor, factor: float) -> Tensor:
    """``factor * value`` of a 0-dim tensor, whose derivatives all have its type.

    In forward mode torch gives a 0-dim float32 tensor that is multiplied by a Python number a float64 tangent.

    Example:
        >>> scaled(torch.tensor(2.0), 0.5)
        tensor(1.)
    """
    if needs_plain_operations():
        return value * torch.full((), factor, dtype=value.dtype, device=value.device)
    return value * factor
