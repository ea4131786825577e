"""What a graph's nodes change in place, so that nothing of it is lost when they run in another order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx


@dataclass(frozen=True)
class Change:
    """One node changes the memory that holds another's value.

    Args:
        by: the node that changes it.
        of: the node whose value it is.
        is_result: whether the first one returns that same value, as ``x.add_(1)`` does.
    """

    by: fx.Node
    of: fx.Node
    is_result: bool

    def taken_over_by_uses(self, nodes: Sequence[fx.Node]) -> bool:
        """Let all later users of the value use the result of the node that changed it, where that is the value."""
        if self.is_result:
            later = set(nodes[nodes.index(self.by) + 1 :])
            for user in later & set(self.of.users):
                user.replace_input_with(self.of, self.by)
        return self.is_result


class Versions:
    """Finds out which values were changed in place, by torch's count of changes of each memory.

    Args:
        values: of nodes; those that are added to it are watched too.
    """

    def __init__(self, values: Mapping[fx.Node, Any]) -> None:
        self.values = values
        self.known = {node: _versions(value) for node, value in values.items()}

    def changes_by(self, by: fx.Node) -> list[Change]:
        """What a node that has just run, and whose value is there, has changed."""
        found = []
        for of, before in self.known.items():
            now = _versions(self.values[of]) if before else before
            if now != before:
                self.known[of] = now
                found.append(Change(by, of, same_memory(self.values[by], self.values[of])))
        self.known[by] = _versions(self.values[by])
        return found


def _versions(value: Any) -> list[int]:
    return [0 if tensor.is_inference() else tensor._version for tensor in _tensors(value)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def same_memory(a: Any, b: Any) -> bool:
    """Whether two values are the same tensor, number for number in the same place.

    Example:
        >>> import torch
        >>> x = torch.zeros(2, 3)
        >>> same_memory(x.add_(1), x), same_memory(x.view(6), x)
        (True, False)
    """
    if a is b:
        return True
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return False
    layouts = [(v.data_ptr(), v.shape, v.stride(), v.dtype) for v in (a, b)]
    return layouts[0] == layouts[1]
