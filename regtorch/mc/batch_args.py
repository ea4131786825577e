"""The arguments of a model, taken apart by rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.model_state import contents
from regtorch.mc.structure import map_tensors, replace_tensors, tensors_of


class BatchArgs:
    """The arguments of a model, some of whose tensors have a row for each example.

    The first tensor sets the number of rows; every tensor of the same length belongs to the batch. Tensors may be in
    tuples, lists, dicts and other containers, as a ``DataLoader`` makes them.

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
        self.tensors = tensors_of((args, kwargs))
        if not self.tensors or self.tensors[0].ndim == 0:
            given = ", ".join(type(v).__name__ for v in (*args, *kwargs.values())) or "nothing"
            raise SettingError(f"the predictor takes a batch, a tensor with a row for each example; got {given}")
        shape = tuple(self.tensors[0].shape)
        if not -len(shape) <= batch_dim < len(shape):
            raise SettingError(
                f"batch_dim={batch_dim} is not allowed: the first tensor has shape {shape}, dimensions 0 to {len(shape) - 1}"
            )
        self.rows = shape[batch_dim]

    def _has_rows(self, tensor: Tensor) -> bool:
        return tensor.ndim > 0 and len(tensor) == self.rows

    def _changed(self, change: Callable[[Tensor], Tensor]) -> BatchArgs:
        args, kwargs = map_tensors((self.args, self.kwargs), lambda v: change(v) if self._has_rows(v) else v)
        return BatchArgs(args, kwargs, self.batch_dim)

    def take(self, index: Tensor) -> BatchArgs:
        """Copies of these rows."""
        return self._changed(lambda v: v.index_select(0, index.to(v.device)))

    def narrow(self, start: int, stop: int) -> BatchArgs:
        """Rows from `start` to before `stop`, in the same memory."""
        if start == 0 and stop == self.rows:
            return self
        return self._changed(lambda v: v[start:stop])

    def clone(self) -> BatchArgs:
        """Copies of all rows."""
        if self.batch_dim:
            args, kwargs = map_tensors((self.args, self.kwargs), Tensor.clone)
            return BatchArgs(args, kwargs, self.batch_dim)
        return self._changed(Tensor.clone)

    def with_a_row(self) -> BatchArgs:
        """A row of zeros in place of no rows."""
        return self._changed(lambda v: v.new_zeros((1, *v.shape[1:])))

    def shaken(self) -> BatchArgs:
        """Rows that differ, also where these do not."""
        generator = torch.Generator().manual_seed(0)

        def moved(v: Tensor) -> Tensor:
            return v + torch.randn(v.shape, generator=generator).to(v) if v.is_floating_point() else v

        return self._changed(moved)

    def kind(self) -> tuple[object, ...]:
        """What a plan depends on: everything but the number of rows and the numbers in them."""
        shapes = []
        for tensor in self.tensors:
            has_rows = self._has_rows(tensor)
            shapes.append((has_rows, tuple(tensor.shape[has_rows:]), tensor.dtype, tensor.device))
        # the containers and other values, with the batch's tensors left out and the others' contents
        rest = replace_tensors(
            (self.args, self.kwargs), [None if self._has_rows(t) else contents(t) for t in self.tensors]
        )
        return tuple(shapes), contents(rest)

    def shapes(self) -> tuple[object, ...]:
        """The shapes of all tensors: what a plan for one number of rows depends on besides."""
        return tuple(tuple(tensor.shape) for tensor in self.tensors)
