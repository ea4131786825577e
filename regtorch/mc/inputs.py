"""The arguments of a model, taken apart by rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.staleness import contents


class Inputs:
    """The arguments of a model, some of whose tensors have a row for each example.

    Args:
        args: positional arguments; the first tensor says how many rows there are.
        kwargs: keyword arguments.

    Raises:
        SettingError: no argument is a tensor with rows.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs
        self.tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        if not self.tensors or self.tensors[0].ndim == 0:
            given = ", ".join(type(v).__name__ for v in (*args, *kwargs.values())) or "nothing"
            raise SettingError(f"the predictor takes a batch, a tensor with a row for each example; got {given}")
        self.rows = len(self.tensors[0])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        def new(v: Any) -> Any:
            return change(v) if isinstance(v, Tensor) and v.ndim and len(v) == self.rows else v

        return Inputs(tuple(map(new, self.args)), {k: new(v) for k, v in self.kwargs.items()})

    def take(self, index: Tensor) -> Inputs:
        """Copies of these rows."""
        return self._changed(lambda v: v.index_select(0, index.to(v.device)))

    def narrow(self, start: int, stop: int) -> Inputs:
        """Rows from `start` to before `stop`, in the same memory."""
        return self._changed(lambda v: v[start:stop])

    def clone(self) -> Inputs:
        """Copies of all rows."""
        return self._changed(Tensor.clone)

    def with_a_row(self) -> Inputs:
        """A row of zeros in place of no rows."""
        return self._changed(lambda v: v.new_zeros((1, *v.shape[1:])))

    def shaken(self) -> Inputs:
        """Rows that differ, also where these do not."""
        generator = torch.Generator().manual_seed(0)

        def moved(v: Tensor) -> Tensor:
            return v + torch.randn(v.shape, generator=generator).to(v) if v.is_floating_point() else v

        return self._changed(moved)

    def kind(self) -> tuple[object, ...]:
        """What a plan depends on: everything but the rows and the numbers in them."""

        def of(v: Any) -> object:
            if isinstance(v, Tensor):
                batched = v.ndim > 0 and len(v) == self.rows
                return (batched, tuple(v.shape[batched:]), v.dtype, v.device)
            return contents(v)

        return (tuple(map(of, self.args)), tuple((k, of(v)) for k, v in self.kwargs.items()))
