"""Sharded weights (DTensors): the local shard, the full tensor, and sums over all shards.

Formulas compute on the local shard, and the communication of several weights is combined.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def is_sharded(w: object) -> TypeGuard[Any]:
    """Whether `w` is a DTensor: fully sharded, split along any dimension, or replicated over a mesh.

    Example:
        >>> is_sharded(torch.ones(2))
        False
    """
    if type(w) in (Tensor, nn.Parameter):
        return False
    # the import is slow, and it was done if there are DTensors
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(w, tensors.DTensor)


def local_shard(w: Tensor) -> Tensor:
    """The shard of `w` on this process; it shares memory with `w`, and gradients flow back to `w`.

    Example:
        >>> local_shard(torch.ones(2))
        tensor([1., 1.])
    """
    if not is_sharded(w):
        return w
    shard: Tensor = w.to_local()
    return shard


def spread(w: Tensor, dims: Sequence[int] | None = None) -> tuple[int, ...]:
    """The dimensions of w's mesh across which its `dims` (default: all) are sharded.

    Example:
        >>> spread(torch.ones(2, 3))
        ()
    """
    if not is_sharded(w):
        return ()
    cut = range(w.ndim) if dims is None else [dim % w.ndim for dim in dims]
    return tuple(i for i, placement in enumerate(w.placements) if _cut_dim(placement) in cut)


def _cut_dim(placement: Any) -> int | None:
    """The dimension that a placement shards; the strided placement of combined parallelism is not a `Shard`."""
    return getattr(placement, "dim", None)


def summed_over_shards(
    parts: Sequence[Tensor], weights: Sequence[Tensor], dims: Sequence[Sequence[int] | None] | None = None
) -> list[Tensor]:
    """Sum each part over the shards of its weight, with one reduction for all parts of a mesh.

    Args:
        parts: plain tensors of any shape, one per weight: the contribution of this process' shard.
        weights: the weights of the parts; the part of an unsharded weight is returned as it is.
        dims: for each weight, the dimensions whose shards are summed; by default all.

    Returns:
        The sums, with the shapes of the parts, equal on every process. Each process gets the gradient of its own part.

    Example:
        >>> summed_over_shards([torch.ones(2)], [torch.ones(2, 3)])
        [tensor([1., 1.])]
    """
    totals = list(parts)
    together: dict[Any, list[int]] = {}
    for i, w in enumerate(weights):
        if across := spread(w, None if dims is None else dims[i]):
            together.setdefault((w.device_mesh, across), []).append(i)  # type: ignore[attr-defined]
    for (mesh, across), members in together.items():
        summed = _reduced(torch.cat([parts[i].reshape(-1) for i in members]), mesh, across)
        for i, total in zip(members, summed.split([parts[i].numel() for i in members]), strict=True):
            # shards may be stored on the CPU and reduced on GPUs
            totals[i] = total.reshape(parts[i].shape).to(parts[i])
    return totals


def _reduced(part: Tensor, mesh: Any, across: tuple[int, ...]) -> Tensor:
    from torch.distributed.tensor import DTensor, Partial, Replicate

    each = [Partial() if i in across else Replicate() for i in range(mesh.ndim)]
    total: Tensor = (
        DTensor.from_local(part, mesh, each, run_check=False).redistribute(mesh, _replicated(mesh)).to_local()
    )
    return total


def _replicated(mesh: Any) -> list[Any]:
    from torch.distributed.tensor import Replicate

    return [Replicate()] * mesh.ndim


def full_tensors(*weights: Tensor) -> list[Tensor]:
    """Gather each weight as a full plain tensor, all together; gradients flow back to the shards.

    Example:
        >>> full_tensors(torch.ones(2))
        [tensor([1., 1.])]
    """
    results = list(weights)
    together: dict[Any, list[int]] = {}
    for i, w in enumerate(weights):
        if spread(w) and w.device_mesh.ndim == 1 and _in_chunks(w):  # type: ignore[attr-defined]
            together.setdefault((w.device_mesh, w.dtype), []).append(i)  # type: ignore[attr-defined]
        elif is_sharded(w):
            results[i] = w.full_tensor()
    for (mesh, _), members in together.items():
        for i, full in zip(members, _gathered([weights[i] for i in members], mesh), strict=True):
            results[i] = full
    return results


def _in_chunks(w: Any) -> bool:
    from torch.distributed.tensor import Shard

    return type(w.placements[0]) is Shard


def _gathered(weights: Sequence[Any], mesh: Any) -> list[Tensor]:
    """Gather all shards at once: those of a process are one row, padded to the longest row."""
    from torch.distributed.tensor import DTensor, Shard

    cuts = [w.placements[0].dim for w in weights]
    shapes = [[_shape_of_chunk(w.shape, cut, mesh.size(), rank) for rank in range(mesh.size())]
              for w, cut in zip(weights, cuts, strict=True)]  # fmt: skip
    lengths = [sum(math.prod(shape[rank]) for shape in shapes) for rank in range(mesh.size())]
    row = torch.cat([local_shard(w).reshape(-1) for w in weights])
    row = pad(row, (0, max(lengths) - len(row)))
    rows = (
        DTensor.from_local(row[None], mesh, [Shard(0)], run_check=False)
        .redistribute(mesh, _replicated(mesh))
        .to_local()
    )
    pieces = [
        rows[rank].split([*(math.prod(shape[rank]) for shape in shapes), max(lengths) - lengths[rank]])
        for rank in range(mesh.size())
    ]
    return [
        torch.cat([pieces[rank][i].reshape(shapes[i][rank]) for rank in range(mesh.size())], dim=cut)
        for i, cut in enumerate(cuts)
    ]


def _shape_of_chunk(shape: torch.Size, dim: int, chunks: int, index: int) -> list[int]:
    longest = -(-shape[dim] // chunks)
    length = min(longest, max(0, shape[dim] - index * longest))
    return [length if i == dim else size for i, size in enumerate(shape)]


def with_local_shard(w: Any, shard: Tensor) -> Tensor:
    """A tensor sharded like `w`, with `shard` on this process."""
    result: Tensor = type(w).from_local(
        shard, w.device_mesh, w.placements, run_check=False, shape=w.shape, stride=w.stride()
    )
    return result


def shard_of(result: Tensor, w: Any) -> Tensor:
    """This process' shard of a tensor sharded like `w`; a plain tensor must be equal on all processes."""
    if not is_sharded(result):
        result = type(w).from_local(result, w.device_mesh, _replicated(w.device_mesh), run_check=False)
    return local_shard(result.redistribute(w.device_mesh, w.placements))  # type: ignore[attr-defined]


def shard_by_shard(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Extend an elementwise function with ``out=`` to sharded weights."""

    @wraps(function)
    def on_shards(w: Tensor, *args: Any, out: Tensor | None = None, **kwargs: Any) -> Tensor:
        if not is_sharded(w):
            return function(w, *args, out=out, **kwargs)
        shard = local_shard(w)
        if out is None:
            return with_local_shard(w, function(shard, *args, **kwargs))
        function(shard, *args, out=shard if out is w else local_shard(out), **kwargs)
        return out

    return on_shards


def as_plain(value: Tensor) -> Tensor:
    """`value` itself, or its full tensor if it is a DTensor.

    Example:
        >>> as_plain(torch.tensor(1.0))
        tensor(1.)
    """
    return value.full_tensor() if is_sharded(value) else value
