"""The norm of each output unit's incoming weights, and scaling units by a factor each."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.functional.full_precision import widened


def norm_dims(w: Tensor, dims: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The dimensions of one unit's incoming weights: `dims`, or all but the first (a vector: its only one)."""
    if dims is not None:
        chosen = (dims,) if isinstance(dims, int) else tuple(dims)
        if any(not -w.ndim <= dim < w.ndim for dim in chosen):
            raise SettingError(
                f"dims={dims} is not allowed for a weight of shape {tuple(w.shape)}: it has {w.ndim} dimensions"
            )
        return chosen
    return tuple(range(1, w.ndim)) if w.ndim > 1 else (0,)


def unit_norms(w: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Euclidean norm over `dims`, in float32 or wider, shaped so that it multiplies `w`.

    Example:
        >>> unit_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), dims=(1,))
        tensor([[5.],
                [1.]])
    """
    norms: Tensor = torch.linalg.vector_norm(widened(w), dim=dims, keepdim=True)
    return norms


def rescale(w: Tensor, scale: Tensor, out: Tensor | None = None) -> Tensor:
    """``w * scale`` in w's own type, written to `out` if given; a scale of 1 leaves the bits as they were."""
    if out is w and w.dtype == scale.dtype:
        return w.mul_(scale)
    scaled = (widened(w) * scale).to(w.dtype)
    return scaled if out is None else out.copy_(scaled)


def is_plain(w: Tensor) -> bool:
    """Whether `w` is an ordinary float32 or float64 tensor, which every kernel of torch takes."""
    return type(w) in (Tensor, torch.nn.Parameter) and w.dtype in (torch.float32, torch.float64)
