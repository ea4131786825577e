"""The places of a batch's rows in a tensor, and splitting a batch of several samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The rows of a batch are along dimension `dim`, `block` entries to a row, one row after the other.

    In a batch of S samples of B rows each, the entries along `dim` run over (sample, row, entry of the row).
    """

    dim: int
    block: int = 1

    def rows(self, shape: Sequence[int]) -> int:
        """The number of rows in a tensor of this shape."""
        return shape[self.dim] // self.block

    def of_one_row(self, shape: Sequence[int]) -> list[int]:
        """The shape with a single row."""
        return [self.block if dim == self.dim else size for dim, size in enumerate(shape)]

    def apart(self, x: Tensor, rows: int) -> Tensor:
        """(..., S * B * block, ...) -> (..., S, B, block, ...)."""
        parts: Tensor = x.unflatten(self.dim, (-1, rows, self.block))
        return parts

    def joined(self, x: Tensor) -> Tensor:
        """(..., S, B, block, ...) -> (..., S * B * block, ...)."""
        return x.flatten(self.dim, self.dim + 2)

    def for_each_row(self, one_row: Tensor) -> Tensor:
        """(S, *shape of one row) -> (..., S, 1, block, ...), which broadcasts over the rows of what is `apart`."""
        return one_row.movedim(0, self.dim).unsqueeze(self.dim + 1)

    def select(self, x: Tensor, index: Tensor) -> Tensor:
        """The rows with these numbers of a batch of one sample."""
        if self.block == 1:
            return x.index_select(self.dim, index)
        parts: Tensor = x.unflatten(self.dim, (-1, self.block))
        return parts.index_select(self.dim, index).flatten(self.dim, self.dim + 1)

    def repeated(self, x: Tensor, samples: int) -> Tensor:
        """A batch of one sample as one of several, in memory of its own."""
        return x.repeat(*(samples if dim == self.dim else 1 for dim in range(x.ndim)))


@dataclass(frozen=True)
class Scaled:
    """An integer that grows with the rows: ``fixed + per_row * rows``, such as a batch size that a model reads."""

    fixed: int
    per_row: int

    def at(self, rows: int) -> int:
        """The number for so many rows."""
        return self.fixed + self.per_row * rows


class NoLayoutError(Exception):
    """The rows of a batch cannot be found in a value."""


def layout_of(few: Sequence[int], many: Sequence[int], rows: tuple[int, int]) -> Layout | None:
    """Where the rows are, from a tensor's shapes for two numbers of rows; None: nowhere.

    Raises:
        NoLayoutError: the shapes differ by something else than rows along one dimension.

    Example:
        >>> layout_of((5, 8, 3), (5, 12, 3), rows=(2, 3))
        Layout(dim=1, block=4)
    """
    changed = [dim for dim, (a, b) in enumerate(zip(few, many)) if a != b] if len(few) == len(many) else [0, 0]  # noqa: B905
    if not changed:
        return None
    sizes = few[changed[0]], many[changed[0]]
    block, rest = divmod(sizes[0], rows[0])
    if len(changed) > 1 or rest or sizes[1] != block * rows[1]:
        raise NoLayoutError(f"shape {tuple(few)} of {rows[0]} rows becomes {tuple(many)} of {rows[1]}")
    return Layout(changed[0], block)


def value_layout(few: Any, many: Any, rows: tuple[int, int]) -> Any:
    """The layouts in a value of tensors, numbers and containers, from two numbers of rows; None: as it is."""
    if isinstance(few, Tensor) and isinstance(many, Tensor):
        return layout_of(few.shape, many.shape, rows)
    if type(few) is int and type(many) is int:
        slope, rest = divmod(many - few, rows[1] - rows[0])
        if rest:
            raise NoLayoutError(f"the number {few} for {rows[0]} rows becomes {many} for {rows[1]}")
        return Scaled(few - slope * rows[0], slope) if slope else None
    if isinstance(few, (tuple, list)):
        if len(few) != len(many):
            raise NoLayoutError(f"{len(few)} values for {rows[0]} rows become {len(many)} for {rows[1]}")
        return [value_layout(a, b, rows) for a, b in zip(few, many, strict=True)]
    if isinstance(few, dict):
        return {key: value_layout(few[key], many[key], rows) for key in few}
    return None


def mapped(value: Any, layout: Any, change: Callable[[Any, Layout | Scaled], Any]) -> Any:
    """A value with everything that depends on the rows changed."""
    if layout is None:
        return value
    if isinstance(layout, (Layout, Scaled)):
        return change(value, layout)
    if isinstance(layout, dict):
        return {key: mapped(value[key], part, change) for key, part in layout.items()}
    parts = [mapped(v, part, change) for v, part in zip(value, layout, strict=True)]
    if isinstance(value, torch.Size):
        return torch.Size(parts)
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
