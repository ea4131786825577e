"""A recorded graph for any number of rows, from the graphs of two batches."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from regtorch.mc.graph import ModelGraph, UntraceableError


class RowNumber:
    """An integer that grows with the rows: ``fixed + per_row * rows``; the target of a node.

    Args:
        fixed: the integer without rows.
        per_row: what each row adds.
    """

    __name__ = "row_number"

    def __init__(self, fixed: int, per_row: int) -> None:
        self.fixed, self.per_row = fixed, per_row

    def __call__(self, batch: Tensor) -> int:
        """The integer for a tensor of the batch."""
        return self.fixed + self.per_row * batch.shape[0]


def for_any_rows(few: ModelGraph, many: ModelGraph, rows: tuple[int, int]) -> ModelGraph:
    """The graph of the first batch, in which integers that differ between the two are computed from the rows.

    Args:
        few: recorded on a batch; it is changed.
        many: recorded on another batch of the same kind.
        rows: of the two batches.

    Raises:
        UntraceableError: the graphs differ by something else.
    """
    nodes, others = list(few.graph.nodes), list(many.graph.nodes)
    if len(nodes) != len(others) or few.constants.keys() != many.constants.keys():
        raise UntraceableError("what it runs depends on the number of rows")
    merge = _Merge(few.graph, dict(zip(others, nodes, strict=True)), rows)
    for node, other in zip(nodes, others, strict=True):
        if (node.op, _name(node.target)) != (other.op, _name(other.target)):
            raise UntraceableError("what it runs depends on the number of rows")
        node.args = merge.value(node.args, other.args)
        node.kwargs = merge.value(node.kwargs, other.kwargs)
    return ModelGraph(few.graph, few.constants, few.rebuild, few.recorded)


def _name(target: object) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)


class _Merge:
    def __init__(self, graph: fx.Graph, same: dict[fx.Node, fx.Node], rows: tuple[int, int]) -> None:
        self.graph, self.same, self.rows = graph, same, rows
        self._numbers: dict[tuple[int, int], fx.Node] = {}

    def value(self, few: Any, many: Any) -> Any:
        if isinstance(few, fx.Node):
            if self.same.get(many) is not few:
                raise UntraceableError("what it runs depends on the number of rows")
            return few
        if isinstance(few, (tuple, list)) and isinstance(many, (tuple, list)) and len(few) == len(many):
            parts = [self.value(a, b) for a, b in zip(few, many, strict=True)]
            return parts if isinstance(few, list) else tuple(parts)
        if isinstance(few, dict) and isinstance(many, dict) and few.keys() == many.keys():
            return {key: self.value(few[key], many[key]) for key in few}
        if isinstance(few, slice) and isinstance(many, slice):
            return slice(*(self.value(getattr(few, n), getattr(many, n)) for n in ("start", "stop", "step")))
        if type(few) is int and type(many) is int and few != many:
            return self._number(few, many)
        if few is not many and not (type(few) is type(many) and few == many):
            raise UntraceableError("a value depends on the number of rows")
        return few

    def _number(self, few: int, many: int) -> fx.Node:
        per_row, rest = divmod(many - few, self.rows[1] - self.rows[0])
        if rest:
            raise UntraceableError("a value depends on the number of rows")
        key = few - per_row * self.rows[0], per_row
        if key not in self._numbers:
            placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
            with self.graph.inserting_after(placeholders[-1]):
                self._numbers[key] = self.graph.call_function(RowNumber(*key), (placeholders[0],))
        return self._numbers[key]
