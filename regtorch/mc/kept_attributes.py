"""What is in the attributes of a model, to be put back."""

from __future__ import annotations

import functools
import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (type(None), bool, int, float, complex, str, bytes)
#: containers and objects within others that are looked into
DEPTH = 4
#: what is never looked into
_ATOMS = (*PLAIN, type, Enum, types.ModuleType, torch.dtype, torch.device, torch.Size,
          types.FunctionType, types.BuiltinFunctionType, types.MethodType)  # fmt: skip
#: entries of a model's attributes that are looked at; a larger container holds data
_MOST = 20_000
#: bytes of an array that is copied
_ARRAY = 2**24
#: sources of random numbers
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
_EMPTY: dict[Any, Any] = {}
#: what every module has of its own, besides its parts
OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def fields_of(value: Any) -> dict[str, Any] | None:
    """The attributes of a plain object or dataclass; None of what is none, or holds locks and the like.

    Example:
        >>> fields_of(types.SimpleNamespace(rate=0.5)), fields_of(0.5)
        ({'rate': 0.5}, None)
    """
    if is_atom(value) or isinstance(value, (Tensor, nn.Module)) or type(value).__module__.startswith("regtorch."):
        return None
    found = dict(getattr(value, "__dict__", None) or {})
    for name in _slots(value):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return found if found and all(map(_is_data, found.values())) else None


def is_atom(value: Any) -> bool:
    """Whether a value is one piece: a number, a text, a class or a function."""
    return isinstance(value, _ATOMS)


def _slots(value: Any) -> list[str]:
    slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
    names = [name for found in slots for name in ([found] if isinstance(found, str) else found)]
    return [name for name in names if not name.startswith("__")]


def _is_data(value: Any) -> bool:
    containers = (tuple, list, dict, set, frozenset, deque, bytearray, np.ndarray, np.generic, functools.partial)
    known = is_atom(value) or isinstance(value, (Tensor, *containers, *_GENERATORS))
    return known or hasattr(value, "__dict__") or bool(_slots(value))


class KeptAttributes:
    """The contents of all attributes of a model's modules.

    Lists, dicts, sets, arrays, generators of random numbers and plain objects are looked into, a few levels deep.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        #: the tensors that were met
        self.tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {id(module): module for module in model.modules()}
        self._left = _MOST
        for module in model.modules():
            # what is scripted holds its attributes elsewhere
            if not isinstance(module, torch.jit.ScriptModule):
                self._keep_attributes(module)

    def give_back(self) -> None:
        """Put everything back."""
        for container, kept in self._dicts:
            if (container or kept) and not _same_entries(container, kept):
                _refill(container, kept)
        for undo in self._undo:
            undo()

    def _keep_attributes(self, module: nn.Module) -> None:
        attributes = vars(module)
        self._dicts.append((attributes, attributes.copy()))
        for name, value in attributes.items():
            if name not in OF_EVERY_MODULE:
                self._keep(value, DEPTH)
            elif isinstance(value, dict):  # parts and hooks: which ones they are
                self._dicts.append((value, dict(value) if value else _EMPTY))

    def _keep(self, value: Any, depth: int) -> None:  # noqa: C901 - one branch per type
        if isinstance(value, PLAIN) or id(value) in self._seen:
            return
        if isinstance(value, Tensor):
            self.tensors.append(value)
        if not depth or is_atom(value):
            return
        self._seen[id(value)] = value
        if isinstance(value, (dict, list, set, deque)):
            self._undo.append(_contents_of(value))
            self._keep_all(value.values() if isinstance(value, dict) else value, len(value), depth)
        elif isinstance(value, tuple):
            self._keep_all(value, len(value), depth)
        elif isinstance(value, bytearray):
            self._undo.append(_bytes_of(value))
        elif isinstance(value, np.ndarray):
            if value.flags.writeable and value.nbytes <= _ARRAY:
                self._undo.append(_numbers_of(value))
        elif isinstance(value, _GENERATORS):
            self._undo.append(_state_of(value))
        elif isinstance(value, nn.Module):  # one that is not registered
            if not isinstance(value, torch.jit.ScriptModule):
                self._undo.append(_contents_of(vars(value)))
                self._keep_all(vars(value).values(), len(vars(value)), depth + 1)
        elif (fields := fields_of(value)) is not None:
            self._undo.append(_fields(value, fields))
            self._keep_all(fields.values(), len(fields), depth)

    def _keep_all(self, values: Iterable[Any], count: int, depth: int) -> None:
        self._left -= count
        if self._left >= 0:
            for value in values:
                self._keep(value, depth - 1)


def _same_entries(container: dict[Any, Any], kept: dict[Any, Any]) -> bool:
    return list(container) == list(kept) and all(container[key] is kept[key] for key in kept)


def _refill(container: Any, kept: Any) -> None:
    # not by methods of the container's own class, which may not allow it
    kind: Any = next(kind for kind in (OrderedDict, dict, list, deque, set) if isinstance(container, kind))
    kind.clear(container)
    add = kind.extend if kind in (list, deque) else kind.update
    add(container, kept)


def _contents_of(container: Any) -> Callable[[], None]:
    """Puts back what is in a container."""
    is_dict, is_set = isinstance(container, dict), isinstance(container, set)
    kept: Any = dict(container) if is_dict else set(container) if is_set else list(container)

    def give_back() -> None:
        if is_dict:
            same = _same_entries(container, kept)
        elif is_set:
            same = container == kept
        else:
            same = len(container) == len(kept) and all(a is b for a, b in zip(container, kept, strict=True))
        if not same:
            _refill(container, kept)

    return give_back


def _fields(value: Any, fields: dict[str, Any]) -> Callable[[], None]:
    """Puts back the attributes of a plain object."""
    attributes = getattr(value, "__dict__", None)
    undo = _contents_of(attributes) if isinstance(attributes, dict) else None
    slots = {name: fields[name] for name in _slots(value) if name in fields}

    def give_back() -> None:
        if undo is not None:
            undo()
        for name, kept in slots.items():
            if getattr(value, name, None) is not kept:
                object.__setattr__(value, name, kept)

    return give_back


def _numbers_of(array: np.ndarray[Any, Any]) -> Callable[[], None]:
    """Puts back the numbers in an array."""
    kept = array.copy()

    def give_back() -> None:
        if array.dtype == object or not np.array_equal(array, kept):
            array[...] = kept

    return give_back


def _bytes_of(value: bytearray) -> Callable[[], None]:
    """Puts back the bytes of an array of them."""
    kept = bytes(value)

    def give_back() -> None:
        if value != kept:
            value[:] = kept

    return give_back


def _state_of(generator: Any) -> Callable[[], None]:
    """Puts back the state of a generator of random numbers."""
    if isinstance(generator, np.random.Generator):
        bits: Any = generator.bit_generator
        kept = bits.state
        return lambda: setattr(bits, "state", kept)
    if isinstance(generator, torch.Generator):
        state, torch_generator = generator.get_state(), generator

        def give_back() -> None:
            if not torch.equal(torch_generator.get_state(), state):
                torch_generator.set_state(state)

        return give_back
    if isinstance(generator, np.random.RandomState):
        numbers = generator.get_state()
        return lambda: generator.set_state(numbers)
    if isinstance(generator, random.SystemRandom):
        return lambda: None  # it has no state
    found = generator.getstate()
    return lambda: generator.setstate(found)
