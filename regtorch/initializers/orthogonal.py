"""Orthogonal weights."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor

__all__ = ["OrthogonalInitializer", "orthogonal_matrix_"]


def orthogonal_matrix_(w: Tensor, gain: float = 1.0, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill with ``gain * Q``, Q uniform among the matrices with ``Q Q^T = 1`` (or ``Q^T Q = 1`` for a tall matrix).

    Args:
        w: a matrix, or a kernel (out, in, *kernel) read as one row per output unit; changed in place.
        gain: length of each row (for a tall matrix: of each column).
        generator: source of all randomness; by default torch's own.

    Returns:
        `w`.

    Raises:
        SettingError: a tensor of fewer than two dimensions.

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014; the signs:
    Mezzadri, "How to generate random matrices from the classical compact groups", 2007.

    Example:
        >>> w = orthogonal_matrix_(torch.empty(3, 5))
        >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-6)
        True
    """
    check_tensor(w, "orthogonal_matrix_")
    if w.ndim < 2:
        raise SettingError(f"orthogonal weights need two dimensions or more, not the shape {tuple(w.shape)}")
    rows, columns = w.shape[0], w.shape[1:].numel()
    gaussian = torch.empty(max(rows, columns), min(rows, columns), dtype=w.dtype, device=w.device)
    q, r = torch.linalg.qr(gaussian.normal_(generator=generator))
    q = q * r.diagonal().sign()  # otherwise QR is not uniform
    return w.copy_((q if rows >= columns else q.T).reshape(w.shape)).mul_(gain)


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
