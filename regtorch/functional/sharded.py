"""Weights that are spread over processes (DTensors): their local shard, their whole, and sums over all shards.

A formula computes on its local shard, and what several weights have to exchange goes out together, once.
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
    tensors = sys.modules.get("torch.distributed.tensor")  # who holds one has imported it; it takes long, so we do not
    return tensors is not None and isinstance(w, tensors.DTensor)


def local_shard(w: Tensor) -> Tensor:
    """What this process holds of `w`, sharing its memory, with gradients going back into it.

    Example:
        >>> local_shard(torch.ones(2))
        tensor([1., 1.])
    """
    if not is_sharded(w):
        return w
    shard: Tensor = w.to_local()
    return shard


def spread(w: Tensor, dims: Sequence[int] | None = None) -> tuple[int, ...]:
    """The dimensions of w's mesh along which its `dims`, by default all of them, are cut into shards.

    Example:
        >>> spread(torch.ones(2, 3))
        ()
    """
    if not is_sharded(w):
        return ()
    cut = range(w.ndim) if dims is None else [dim % w.ndim for dim in dims]
    return tuple(i for i, placement in enumerate(w.placements) if _cut_dim(placement) in cut)


def _cut_dim(placement: Any) -> int | None:
    """The dimension that a placement cuts; the strided one of tensor and data parallelism together is no `Shard`."""
    return getattr(placement, "dim", None)


def summed_over_shards(
    parts: Sequence[Tensor], weights: Sequence[Tensor], dims: Sequence[Sequence[int] | None] | None = None
) -> list[Tensor]:
    """Each part added up over the shards of its weight, in one reduction for all the parts of a mesh.

    Args:
        parts: plain tensors of any shape, one a weight: what this process' shard contributes.
        weights: the weights that they come from; a part of a plain one is its own sum.
        dims: of each weight, the dimensions whose shards are added up; by default all.

    Returns:
        The sums, shaped as the parts, the same on every process. Each process gets the gradient of its own part.

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
            totals[i] = total.reshape(parts[i].shape).to(parts[i])  # shards may be kept on the CPU, and meet on GPUs
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


def wholes(*weights: Tensor) -> list[Tensor]:
    """The whole of each weight as a plain tensor, gathered at once; the gradient goes back into the shards.

    Example:
        >>> wholes(torch.ones(2))
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
        for i, whole in zip(members, _gathered([weights[i] for i in members], mesh), strict=True):
            results[i] = whole
    return results


def _in_chunks(w: Any) -> bool:
    from torch.distributed.tensor import Shard

    return type(w.placements[0]) is Shard


def _gathered(weights: Sequence[Any], mesh: Any) -> list[Tensor]:
    """One gather: the shards of a process in one row, padded to the longest one."""
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
    """A tensor spread as `w` is, of which this process holds `shard`."""
    result: Tensor = type(w).from_local(
        shard, w.device_mesh, w.placements, run_check=False, shape=w.shape, stride=w.stride()
    )
    return result


def shard_of(result: Tensor, w: Any) -> Tensor:
    """This process' shard of a tensor of w's shape, cut as `w` is; a plain one must be the same on all processes."""
    if not is_sharded(result):
        result = type(w).from_local(result, w.device_mesh, _replicated(w.device_mesh), run_check=False)
    return local_shard(result.redistribute(w.device_mesh, w.placements))  # type: ignore[attr-defined]


def shard_by_shard(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function that treats each entry of its first argument for itself, with ``out=``, take sharded weights."""

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
    """`value` itself, or the whole of it if it is a DTensor.

    Example:
        >>> as_plain(torch.tensor(1.0))
        tensor(1.)
    """
    return value.full_tensor() if is_sharded(value) else value
