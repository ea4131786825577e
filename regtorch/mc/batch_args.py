"""The arguments of a model, taken apart by rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from regtorch.errors import SettingError
from regtorch.mc.model_state import contents
from regtorch.mc.structure import map_tensors, replace_tensors, tensors_of


class BatchArgs:
    """The arguments of a model, some of whose tensors have a row for each example.

    The first tensor that is no single number sets the number of rows; every tensor of the same length belongs to the
    batch. Tensors may be in tuples, lists, dicts and other containers, as a ``DataLoader`` makes them. A packed sequence has
    a row for each of its sequences, and stays as it is.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        batch_dim: the dimension of the first tensor that holds the rows.

    Raises:
        SettingError: no argument is a tensor with rows.

    Example:
        >>> batch = BatchArgs(({"past": torch.zeros(3, 2), "future": torch.ones(3, 1)},), {})
        >>> batch.rows, batch.narrow(0, 1).args
        (3, ({'past': tensor([[0., 0.]]), 'future': tensor([[1.]])},))
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], batch_dim: int = 0) -> None:
        self.args, self.kwargs, self.batch_dim = args, kwargs, batch_dim
        self.tensors: list[Tensor] = tensors_of((args, kwargs))
        with_rows = [tensor for tensor in self.tensors if tensor.ndim]  # a single number has none
        if not with_rows:
            given = ", ".join(type(v).__name__ for v in (*args, *kwargs.values())) or "nothing"
            raise SettingError(f"the predictor takes a batch, a tensor with a row for each example; got {given}")
        #: the tensor that sets the number of rows
        self.first = with_rows[0]
        shape = tuple(self.first.shape)
        if not -len(shape) <= batch_dim < len(shape):
            raise SettingError(
                f"batch_dim={batch_dim} is not allowed: the first tensor has shape {shape}, dimensions 0 to {len(shape) - 1}"
            )
        packed = tensors_of((args, kwargs), PackedSequence)
        sequences = {id(sequence.data): len_of_packed(sequence) for sequence in packed}
        self.rows: int = sequences.get(id(self.first), shape[batch_dim])
        #: whether its rows cannot be taken apart
        self.is_one_piece = bool(batch_dim) or self.rows in sequences.values()
        lengths = {id(sequence.batch_sizes) for sequence in packed}
        #: where each tensor has its rows; None: it has none
        self._dims = [
            0 if sequences.get(id(v)) == self.rows else None if id(v) in lengths else self._dim_of_rows(v)
            for v in self.tensors
        ]

    def _dim_of_rows(self, tensor: Tensor) -> int | None:
        shape = tensor.shape
        if -len(shape) <= self.batch_dim < len(shape) and shape[self.batch_dim] == self.rows:
            return self.batch_dim % len(shape)
        return 0 if len(shape) and shape[0] == self.rows else None

    def _changed(self, change: Callable[[Tensor, int], Tensor]) -> BatchArgs:
        """The same with a function applied to each tensor that has rows, and to where they are."""
        changed = [v if dim is None else change(v, dim) for v, dim in zip(self.tensors, self._dims, strict=True)]
        args, kwargs = replace_tensors((self.args, self.kwargs), changed)
        return BatchArgs(args, kwargs, self.batch_dim)

    def take(self, index: Tensor) -> BatchArgs:
        """Copies of these rows."""
        return self._changed(lambda v, dim: v.index_select(dim, index.to(v.device)))

    def narrow(self, start: int, stop: int) -> BatchArgs:
        """Rows from `start` to before `stop`, in the same memory."""
        if start == 0 and stop == self.rows:
            return self
        return self._changed(lambda v, dim: v.narrow(dim, start, stop - start))

    def clone(self) -> BatchArgs:
        """Copies of all rows."""
        if self.is_one_piece:
            args, kwargs = map_tensors((self.args, self.kwargs), Tensor.clone)
            return BatchArgs(args, kwargs, self.batch_dim)
        return self._changed(lambda v, _: v.clone())

    def with_a_row(self) -> BatchArgs:
        """A row of zeros in place of no rows."""
        return self._changed(lambda v, dim: v.new_zeros([1 if d == dim else size for d, size in enumerate(v.shape)]))

    def shaken(self) -> BatchArgs:
        """Rows that differ, also where these do not."""
        generator = torch.Generator().manual_seed(0)

        def moved(v: Tensor, _: int) -> Tensor:
            return v + torch.randn(v.shape, generator=generator).to(v) if v.is_floating_point() else v

        return self._changed(moved)

    def kind(self) -> tuple[object, ...]:
        """What a plan depends on: everything but the number of rows and the numbers in them."""
        shapes = []
        for tensor, dim in zip(self.tensors, self._dims, strict=True):
            shape = tuple(size for d, size in enumerate(tensor.shape) if d != dim)
            shapes.append((dim, shape, tensor.dtype, tensor.device))
        # the containers and other values, with the batch's tensors left out and the others' contents
        described = [None if dim is not None else contents(v) for v, dim in zip(self.tensors, self._dims, strict=True)]
        return tuple(shapes), contents(replace_tensors((self.args, self.kwargs), described))

    def shapes(self) -> tuple[object, ...]:
        """The shapes of all tensors: what a plan for one number of rows depends on besides."""
        return tuple(tuple(tensor.shape) for tensor in self.tensors)


def len_of_packed(sequence: PackedSequence) -> int:
    """The number of sequences in a packed one.

    Example:
        >>> len_of_packed(torch.nn.utils.rnn.pack_sequence([torch.zeros(3, 2), torch.zeros(1, 2)]))
        2
    """
    return int(sequence.batch_sizes[0])
