"""How tensors and weights lie in torch, where Keras has channels last, kernels the other way round, and flattens so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

#: the size of each axis of one example; None where it varies
Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the axes of one example are.

    Args:
        shape: as Keras has it, without the batch.
        order: Keras' axes (0 is the first behind the batch) in torch's order: (2, 0, 1) for an image in NCHW.
        features: of a vector, Keras' place of each of torch's features; None where they are the same.

    Example:
        >>> image = Layout((28, 20, 3), (2, 0, 1))
        >>> image.sizes, image.dim(-1)
        ((3, 28, 20), 1)
    """

    shape: Shape
    order: tuple[int, ...]
    features: np.ndarray | None = None

    @property
    def rank(self) -> int:
        """The number of axes, without the batch."""
        return len(self.shape)

    @property
    def sizes(self) -> Shape:
        """The shape of one example in torch."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def as_in_keras(self) -> bool:
        """Whether torch's tensor is Keras' tensor."""
        return self.order == tuple(range(self.rank)) and self.features is None

    def dim(self, axis: int) -> int:
        """torch's dimension, the batch counted, of one of Keras' axes; -1 is the last."""
        return 1 + self.order.index(axis % self.rank)

    def same_as(self, other: Layout) -> bool:
        """Whether both lie in the same way, whatever their sizes."""
        if self.order != other.order or (self.features is None) != (other.features is None):
            return False
        return self.features is None or other.features is None or np.array_equal(self.features, other.features)

    def resized(self, *shape: int | None) -> Layout:
        """The same axes with other sizes."""
        return replace(self, shape=tuple(shape))

    def flattened(self, keras_order: Sequence[int] | None = None) -> Layout:
        """What torch's ``flatten`` of this makes: a vector whose features may stand in another order than Keras'.

        Args:
            keras_order: the axes in the order in which Keras flattens them, if not their own.
        """
        size = prod(int(size or 0) for size in self.shape)
        if self.rank == 1:
            return self
        before = tuple(keras_order or range(self.rank))
        moved = [axis for axis in self.order if self.shape[axis] != 1]
        if moved == [axis for axis in before if self.shape[axis] != 1]:
            return Layout((size,), (0,))
        in_keras = np.arange(size).reshape([self.shape[axis] for axis in before])
        in_torch = in_keras.transpose([before.index(axis) for axis in self.order])
        return Layout((size,), (0,), in_torch.reshape(-1))


def keras_layout(shape: Shape) -> Layout:
    """As Keras has it."""
    return Layout(tuple(shape), tuple(range(len(shape))))


def maps_layout(channels: int | None, sizes: Shape, channels_last: bool) -> Layout:
    """(channels, *sizes) in torch.

    Args:
        channels: their number, None where it varies.
        sizes: of the maps.
        channels_last: whether Keras has them last.

    Example:
        >>> maps_layout(3, (28, 20), channels_last=True).order
        (2, 0, 1)
    """
    rank = 1 + len(sizes)
    if channels_last:
        return Layout((*sizes, channels), (rank - 1, *range(rank - 1)))
    return Layout((channels, *sizes), tuple(range(rank)))


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How the array of a weight becomes torch's parameter, and back: reordered, transposed, reshaped.

    Args:
        keras_shape: the array's.
        order: Keras' axes in torch's order.
        shape: what the transposed array is reshaped to; None: as it is.
        gathered: axis of Keras' -> Keras' place of each of torch's entries along it.

    Example:
        >>> kernel = Arrangement((3, 2), (1, 0))
        >>> kernel.to_torch(torch.arange(6.0).reshape(3, 2)).shape
        torch.Size([2, 3])
    """

    keras_shape: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    gathered: tuple[tuple[int, np.ndarray], ...] = ()

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The parameter's shape."""
        return tuple(self.keras_shape[axis] for axis in self.order) if self.shape is None else self.shape

    def to_torch(self, array: Tensor) -> Tensor:
        """The parameter's values."""
        for axis, places in self.gathered:
            array = array.index_select(axis, torch.from_numpy(places))
        return array.permute(self.order).reshape(self.torch_shape)

    def to_keras(self, parameter: Tensor) -> Tensor:
        """The array's values."""
        array = parameter.reshape([self.keras_shape[axis] for axis in self.order]).permute(
            [self.order.index(axis) for axis in range(len(self.order))]
        )
        for axis, places in self.gathered:
            array = array.index_select(axis, torch.from_numpy(np.argsort(places)).to(array.device))
        return array

    def dims(self, axes: Sequence[int]) -> tuple[int, ...] | None:
        """torch's dimensions of these axes of Keras'; None where they are no dimensions of their own in torch."""
        if self.shape is not None and self.shape != tuple(self.keras_shape[axis] for axis in self.order):
            return None
        return tuple(sorted(self.order.index(axis) for axis in axes))


def as_it_is(shape: Sequence[int], features: np.ndarray | None = None) -> Arrangement:
    """A weight that lies in torch as in Keras, but for the order of features along its first axis.

    Args:
        shape: the array's.
        features: Keras' place of each of torch's entries along the first axis; None where they are the same.
    """
    gathered = () if features is None else ((0, features),)
    return Arrangement(tuple(shape), tuple(range(len(shape))), gathered=gathered)
