"""Orthogonal weights."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.functional.orthogonal_matrix import orthogonal_matrix_
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check


@register("initializer", "orthogonal")
class OrthogonalInitializer(Initializer):
    """Orthonormal rows (for a tall matrix: columns) times `gain`. See `regtorch.functional.orthogonal_matrix`.

    Args:
        gain: factor of the orthogonal matrix.

    Raises:
        SettingError: a gain that is not a number.

    Example:
        >>> w = OrthogonalInitializer()(torch.empty(3, 5))
        >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-6)
        True
    """

    def __init__(self, gain: float = 1.0) -> None:
        check(gain=gain)
        self.gain = gain

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a weight (out, in, *kernel) in place."""
        orthogonal_matrix_(w, self.gain, generator=generator)
