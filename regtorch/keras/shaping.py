"""Layers that only arrange: flatten, reshape, permute, repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from torch import Tensor, nn

from regtorch.keras.layout import Layout, keras_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


class Reshape(nn.Module):
    """Another shape of each example; one size may be -1."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape)."""
        left = prod(x.shape[1:]) // prod(size for size in self.shape if size != -1)  # so that a batch may be empty
        return x.reshape(x.shape[0], *(left if size == -1 else size for size in self.shape))

    def extra_repr(self) -> str:
        """The shape, without the batch."""
        return f"{self.shape}"


@translates("Flatten")
def flatten(t: Translation) -> Value:
    """torch's flatten of NCHW: the weights behind it are rearranged instead of the numbers."""
    x = t.one()
    for axis in range(x.layout.rank):
        t.size(x, axis)
    # a Flatten that is told of channels first puts them last before it flattens
    moves = t.settings.get("data_format") == "channels_first" and x.layout.rank > 1
    layout = x.layout.flattened((*range(1, x.layout.rank), 0) if moves else None)
    if x.layout.rank == 0:
        return t.step(Reshape((1,)), x, keras_layout((1,)))
    return t.step(nn.Flatten(), x, layout)


@translates("Reshape")
def reshape(t: Translation) -> Value:
    """Of Keras' order of the numbers, so images are permuted first, unless all becomes one vector."""
    x = t.one()
    target = t.settings.get("target_shape")
    if not isinstance(target, (list, tuple)) or not all(
        type(size) is int and (size > 0 or size == -1) for size in target
    ):
        raise t.settings.wrong("target_shape", "a list of whole numbers, one of which may be -1")
    shape: tuple[int | None, ...] = tuple(target)
    if -1 in target:
        if target.count(-1) > 1:
            raise t.settings.wrong("target_shape", "a list in which -1 stands once")
        known = None if None in x.layout.shape else prod(size or 1 for size in x.layout.shape)
        left = None if known is None else known // prod(size for size in target if size != -1)
        shape = tuple(left if size == -1 else size for size in target)
    if None not in x.layout.shape and None not in shape and prod(map(_int, shape)) != prod(map(_int, x.layout.shape)):
        raise t.settings.wrong("target_shape", f"as many numbers as the shape {x.layout.shape} has")
    if len(shape) == 1 and None not in x.layout.shape:
        return t.step(nn.Flatten(), x, x.layout.flattened())
    x = t.plan.in_keras_order(x, t.layer.name)
    return t.step(Reshape(target), x, keras_layout(shape))


def _int(size: int | None) -> int:
    return size or 1


@translates("Permute")
def permute(t: Translation) -> Value:
    """Keras' axes change their names; torch's tensor stays where it is."""
    x = t.one()
    dims = t.settings.get("dims")
    if not isinstance(dims, (list, tuple)) or sorted(dims) != list(range(1, x.layout.rank + 1)):
        raise t.settings.wrong("dims", f"the numbers 1 to {x.layout.rank} in some order")
    axes = [dim - 1 for dim in dims]
    layout = Layout(tuple(x.layout.shape[axis] for axis in axes), tuple(axes.index(axis) for axis in x.layout.order))
    return t.step(nn.Identity(), x, replace(layout, features=x.layout.features))


class Repeat(nn.Module):
    """A vector several times, as a sequence."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) -> (batch, times, features)."""
        return x[:, None].expand(-1, self.times, -1)

    def extra_repr(self) -> str:
        """How often."""
        return f"{self.times}"


@translates("RepeatVector")
def repeat_vector(t: Translation) -> Value:
    """A sequence of the same vector."""
    x = t.plan.in_keras_order(t.one(1), t.layer.name)
    times = t.settings.count("n")
    return t.step(Repeat(times), x, keras_layout((times, *x.layout.shape)))
