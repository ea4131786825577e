"""The tensors in nested containers: what models take and give."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: containers within containers that are looked into
_MAX_DEPTH = 8
#: never looked into: they hold no data of a batch
_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.nn.Module)


def tensors_of(value: Any, leaf: type = Tensor) -> list[Any]:
    """All tensors in a tensor, tuple, list, mapping, dataclass or plain object, in a fixed order.

    Example:
        >>> [t.item() for t in tensors_of({"a": torch.tensor(1), "b": [torch.tensor(2), "text"]})]
        [1, 2]
    """
    if isinstance(value, leaf):
        return [value]
    found: list[Any] = []

    def note(tensor: Any) -> Any:
        found.append(tensor)
        return tensor

    map_tensors(value, note, leaf)
    return found


def map_tensors(value: Any, change: Callable[[Any], Any], leaf: type = Tensor) -> Any:
    """The same structure with each tensor replaced; containers without tensors are returned as they are.

    Args:
        value: a tensor or a structure of them: tuples (named ones, too), lists, mappings, dataclasses, ``ModelOutput``,
            and other objects that hold tensors in their attributes.
        change: called with each tensor, in order.
        leaf: what to replace, if not tensors.

    Example:
        >>> map_tensors((torch.ones(1), {"mask": None}), torch.neg)
        (tensor([-1.]), {'mask': None})
    """
    return _map(value, change, leaf, {}, _MAX_DEPTH)


def replace_tensors(value: Any, tensors: Sequence[Any], leaf: type = Tensor) -> Any:
    """The same structure with its tensors replaced by these, in the order of `tensors_of`.

    Example:
        >>> replace_tensors([torch.ones(1), 2], ["first"])
        ['first', 2]
    """
    new = iter(tensors)
    return map_tensors(value, lambda _: next(new), leaf)


def _map(value: Any, change: Callable[[Any], Any], leaf: type, done: dict[int, Any], depth: int) -> Any:
    if isinstance(value, leaf):
        return change(value)
    if isinstance(value, _ATOMS) or depth == 0 or callable(value):
        return value
    if id(value) in done:
        return done[id(value)][1]
    done[id(value)] = (value, value)  # a structure that contains itself ends here
    parts = list(_parts(value))
    new = [_map(part, change, leaf, done, depth - 1) for _, part in parts]
    if all(a is b for a, (_, b) in zip(new, parts, strict=True)):
        return value
    result = _rebuilt(value, [key for key, _ in parts], new)
    done[id(value)] = (value, result)
    return result


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, (tuple, list)):
        yield from enumerate(value)
    elif isinstance(value, Mapping):
        yield from list(value.items())
    elif dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif hasattr(value, "__dict__"):
        yield from list(vars(value).items())


def _rebuilt(value: Any, keys: list[Any], parts: list[Any]) -> Any:
    if isinstance(value, tuple):
        # a named tuple may check its parts when it is made
        return tuple.__new__(type(value), parts) if hasattr(value, "_fields") else type(value)(parts)
    if type(value) is list:
        return parts
    if type(value) is dict:
        return dict(zip(keys, parts, strict=True))
    result = copy.copy(value)
    if isinstance(value, (list, Mapping)) and hasattr(result, "__setitem__"):
        for key, part in zip(keys, parts, strict=True):
            result[key] = part
    else:
        for key, part in zip(keys, parts, strict=True):
            object.__setattr__(result, key, part)
    return result
