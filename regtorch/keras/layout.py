"""How Keras' axes of tensors and weights map to torch's: channels last, transposed kernels, and the order after a flatten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

#: the size of each axis of one example; None for a variable size
Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """The order of the axes of one example in torch.

    Args:
        shape: the shape in Keras, without the batch.
        order: Keras' axes (0 is the first after the batch) in torch's order: (2, 0, 1) for an image in NCHW.
        features: for a vector, the index in Keras of each feature in torch; None if the order is the same.

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
        """Whether the tensor is the same in torch as in Keras."""
        return self.order == tuple(range(self.rank)) and self.features is None

    def dim(self, axis: int) -> int:
        """Return torch's dimension, counted with the batch, of an axis in Keras; -1 is the last axis."""
        return 1 + self.order.index(axis % self.rank)

    def same_as(self, other: Layout) -> bool:
        """Whether both have the same order of axes and features, whatever their sizes."""
        if self.order != other.order or (self.features is None) != (other.features is None):
            return False
        return self.features is None or other.features is None or np.array_equal(self.features, other.features)

    def resized(self, *shape: int | None) -> Layout:
        """Return a layout with the same axes and other sizes."""
        return replace(self, shape=tuple(shape))

    def flattened(self, keras_order: Sequence[int] | None = None) -> Layout:
        """Return the layout after torch's ``flatten``: a vector whose features may have another order than in Keras.

        Args:
            keras_order: the order in which Keras flattens the axes; by default their own order.
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
    """The layout of a tensor with the axes of Keras."""
    return Layout(tuple(shape), tuple(range(len(shape))))


def maps_layout(channels: int | None, sizes: Shape, channels_last: bool) -> Layout:
    """The layout of feature maps, which are (channels, *sizes) in torch.

    Args:
        channels: their number; None for a variable one.
        sizes: sizes of the maps.
        channels_last: whether the channels are last in Keras.

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
    """How the array of a weight in Keras becomes a parameter in torch, and back: reordered, transposed, reshaped.

    Args:
        keras_shape: shape of the array.
        order: Keras' axes in torch's order.
        shape: shape of the parameter; None if the transposed array is not reshaped.
        gathered: pairs of an axis in Keras and, for each of torch's entries along it, the entry's index in Keras.

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
        """Shape of the parameter."""
        return tuple(self.keras_shape[axis] for axis in self.order) if self.shape is None else self.shape

    def to_torch(self, array: Tensor) -> Tensor:
        """Return the values of the parameter."""
        for axis, places in self.gathered:
            array = array.index_select(axis, torch.from_numpy(places))
        return array.permute(self.order).reshape(self.torch_shape)

    def to_keras(self, parameter: Tensor) -> Tensor:
        """Return the values of the array."""
        array = parameter.reshape([self.keras_shape[axis] for axis in self.order]).permute(
            [self.order.index(axis) for axis in range(len(self.order))]
        )
        for axis, places in self.gathered:
            array = array.index_select(axis, torch.from_numpy(np.argsort(places)).to(array.device))
        return array

    def dims(self, axes: Sequence[int]) -> tuple[int, ...] | None:
        """Return torch's dimensions of axes in Keras; None if they are not separate dimensions in torch."""
        if self.shape is not None and self.shape != tuple(self.keras_shape[axis] for axis in self.order):
            return None
        return tuple(sorted(self.order.index(axis) for axis in axes))


def same_arrangement(shape: Sequence[int], features: np.ndarray | None = None) -> Arrangement:
    """The arrangement of a weight with the same axes in both; only the order along the first axis may differ.

    Args:
        shape: shape of the array.
        features: index in Keras of each of torch's entries along the first axis; None if the order is the same.
    """
    gathered = () if features is None else ((0, features),)
    return Arrangement(tuple(shape), tuple(range(len(shape))), gathered=gathered)
