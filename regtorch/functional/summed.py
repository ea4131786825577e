"""Sum of scalars that may be on different devices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
