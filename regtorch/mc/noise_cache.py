"""Room for many small tensors that stay, in one piece of memory."""

from __future__ import annotations

import torch
from torch import Tensor

_ALIGNED = 64


class Store:
    """Keeps copies of tensors in one block.

    Tensors that stay, each in memory of its own, would be allocated between large ones that come and go, and leave holes too small
    for those: a process grew by a gigabyte for four megabytes of noise.

    Args:
        size: of the block, in bytes; it is taken at the first tensor, where that is.

    Example:
        >>> store = Store(1024)
        >>> store.put(torch.ones(2)), store.has_room(torch.ones(300))
        (tensor([1., 1.]), False)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._block: Tensor | None = None
        self._used = 0

    def has_room(self, *tensors: Tensor | None) -> bool:
        """Whether these fit, on the device of the others."""
        given = [tensor for tensor in tensors if tensor is not None]
        here = self._block is None or all(tensor.device == self._block.device for tensor in given)
        return here and self._used + sum(_room(tensor) for tensor in given) <= self.size

    def put(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, in the block; there must be room for it."""
        if self._block is None:
            self._block = torch.empty(self.size, dtype=torch.uint8, device=tensor.device)
        place = self._block[self._used : self._used + tensor.nbytes]
        self._used += _room(tensor)
        return place.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def _room(tensor: Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNED) * _ALIGNED
