"""Modules that permute dimensions or features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Permute(nn.Module):
    """Permute the dimensions after the batch."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(1 + dim for dim in dims)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, ...) with permuted dimensions."""
        return x.permute(0, *self.dims)

    def extra_repr(self) -> str:
        """The dimensions, including the batch."""
        return f"0, {', '.join(map(str, self.dims))}"


class Reorder(nn.Module):
    """Permute the features of a vector."""

    places: Tensor

    def __init__(self, places: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("places", torch.from_numpy(np.ascontiguousarray(places)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the permuted (batch, features)."""
        return x.index_select(1, self.places)
