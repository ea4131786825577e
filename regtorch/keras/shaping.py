"""Layers that change only the shape: flatten, reshape, permute, repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from torch import Tensor, nn

from regtorch.keras.layout import Layout, keras_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


class Reshape(nn.Module):
    """Reshape each example; one size may be -1."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, *shape)."""
        left = prod(x.shape[1:]) // prod(
            size for size in self.shape if size != -1
        )  # torch cannot infer -1 for an empty batch
        return x.reshape(x.shape[0], *(left if size == -1 else size for size in self.shape))

    def extra_repr(self) -> str:
        """The shape, without the batch."""
        return f"{self.shape}"


@translates("Flatten")
def flatten(t: Translation) -> Value:
    """torch's flatten of NCHW. The following weights are rearranged instead of the activations."""
    x = t.one()
    for axis in range(x.layout.rank):
        t.size(x, axis)
    # Keras' Flatten with channels_first moves the channels to the end before it flattens
    moves = t.settings.get("data_format") == "channels_first" and x.layout.rank > 1
    layout = x.layout.flattened((*range(1, x.layout.rank), 0) if moves else None)
    if x.layout.rank == 0:
        return t.step(Reshape((1,)), x, keras_layout((1,)))
    return t.step(nn.Flatten(), x, layout)


@translates("Reshape")
def reshape(t: Translation) -> Value:
    """Reshape in Keras' order: images are permuted first, unless the result is a vector."""
    x = t.one()
    target = t.settings.get("target_shape")
    if not isinstance(target, (list, tuple)) or not all(
        type(size) is int and (size > 0 or size == -1) for size in target
    ):
        raise t.settings.wrong("target_shape", "a list of integers, one of which may be -1")
    shape: tuple[int | None, ...] = tuple(target)
    if -1 in target:
        if target.count(-1) > 1:
            raise t.settings.wrong("target_shape", "a list with at most one -1")
        known = None if None in x.layout.shape else prod(size or 1 for size in x.layout.shape)
        left = None if known is None else known // prod(size for size in target if size != -1)
        shape = tuple(left if size == -1 else size for size in target)
    if None not in x.layout.shape and None not in shape and prod(map(_int, shape)) != prod(map(_int, x.layout.shape)):
        raise t.settings.wrong("target_shape", f"a shape with as many numbers as {x.layout.shape}")
    if len(shape) == 1 and None not in x.layout.shape:
        return t.step(nn.Flatten(), x, x.layout.flattened())
    x = t.plan.in_keras_order(x, t.layer.name)
    return t.step(Reshape(target), x, keras_layout(shape))


def _int(size: int | None) -> int:
    return size or 1


@translates("Permute")
def permute(t: Translation) -> Value:
    """Only the layout changes; the tensor in torch stays the same."""
    x = t.one()
    dims = t.settings.get("dims")
    if not isinstance(dims, (list, tuple)) or sorted(dims) != list(range(1, x.layout.rank + 1)):
        raise t.settings.wrong("dims", f"a permutation of the numbers 1 to {x.layout.rank}")
    axes = [dim - 1 for dim in dims]
    layout = Layout(tuple(x.layout.shape[axis] for axis in axes), tuple(axes.index(axis) for axis in x.layout.order))
    return t.step(nn.Identity(), x, replace(layout, features=x.layout.features))


class Repeat(nn.Module):
    """Repeat a vector, as a sequence."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, features) to (batch, times, features)."""
        return x[:, None].expand(-1, self.times, -1)

    def extra_repr(self) -> str:
        """The number of repetitions."""
        return f"{self.times}"


@translates("RepeatVector")
def repeat_vector(t: Translation) -> Value:
    """A sequence of the same vector."""
    x = t.plan.in_keras_order(t.one(1), t.layer.name)
    times = t.settings.count("n")
    return t.step(Repeat(times), x, keras_layout((times, *x.layout.shape)))
