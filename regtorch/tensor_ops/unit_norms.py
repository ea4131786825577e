"""Norms of the output units' incoming weights, and scaling of units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.rounding import rounded
from regtorch.tensor_ops.sharded import is_sharded, local_shard, spread, summed_over_shards, with_local_shard


def norm_dims(w: Tensor, dims: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The dimensions of one unit's incoming weights: `dims`, or all but the first (for a vector its only one)."""
    if dims is not None:
        chosen = (dims,) if isinstance(dims, int) else tuple(dims)
        if any(not -w.ndim <= dim < w.ndim for dim in chosen):
            raise SettingError(
                f"dims={dims} is not allowed for a weight of shape {tuple(w.shape)}: it has {w.ndim} dimensions"
            )
        return chosen
    return tuple(range(1, w.ndim)) if w.ndim > 1 else (0,)


def unit_norms(w: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Euclidean norm over `dims`, in float32 or wider, shaped so that it multiplies `w` (if sharded: the shard).

    Example:
        >>> unit_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), dims=(1,))
        tensor([[5.],
                [1.]])
    """
    if is_sharded(w):
        return norms_of_all([w], [dims])[0]
    norms: Tensor = torch.linalg.vector_norm(widened(w), dim=dims, keepdim=True)
    return norms


def norms_of_all(weights: Sequence[Tensor], dims: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """`unit_norms` of several weights, with one reduction for all whose units are split across shards.

    Example:
        >>> norms_of_all([torch.tensor([[3.0, 4.0]])], [(1,)])
        [tensor([[5.]])]
    """
    results = [unit_norms(local_shard(w), of_unit) for w, of_unit in zip(weights, dims, strict=True)]
    cut = [i for i, w in enumerate(weights) if spread(w, dims[i])]
    squares = [results[i].square() for i in cut]
    totals = summed_over_shards(squares, [weights[i] for i in cut], [dims[i] for i in cut])
    for i, total in zip(cut, totals, strict=True):
        results[i] = _root(total)
    return results


def _root(square: Tensor) -> Tensor:
    """The square root with gradient 0 at 0, as for the norm."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def rescale(w: Tensor, scale: Tensor, out: Tensor | None = None, *, away: Tensor | bool | None = None) -> Tensor:
    """``w * scale`` in w's own type, written to `out` if given; a scale of 1 leaves the weights bit-identical.

    Args:
        w: a weight.
        scale: factor of the weight (if sharded: of its shard).
        out: where to write the result.
        away: in half precision, where to round away from zero; elsewhere it rounds towards zero. None: to the nearest.
    """
    if is_sharded(w):
        shard = local_shard(w)
        there = shard if out is w else None if out is None else local_shard(out)
        scaled = rescale(shard, scale, there, away=away)
        return with_local_shard(w, scaled) if out is None else out
    if out is w and w.dtype == scale.dtype:
        return w.mul_(scale)
    wide = widened(w) * scale
    scaled = wide.to(w.dtype) if away is None else rounded(wide, w.dtype, away)
    return scaled if out is None else out.copy_(scaled)


def is_plain(w: Tensor) -> bool:
    """Whether `w` is an ordinary float32 or float64 tensor, which every torch kernel supports."""
    return type(w) in (Tensor, torch.nn.Parameter) and w.dtype in (torch.float32, torch.float64)
