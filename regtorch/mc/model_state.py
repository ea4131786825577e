"""The state of a model: what a plan was made for, and leaving the model as it was found."""

from __future__ import annotations

import functools
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.errors import SettingError
from regtorch.mc.dropouts import strength
from regtorch.mc.kept_attributes import DEPTH, OF_EVERY_MODULE, PLAIN, KeptAttributes, fields_of
from regtorch.mc.memory import Memory, WriteWatch
from regtorch.mc.own_generators import give_back as give_back_state
from regtorch.mc.own_generators import own_generators, state_of

_PLAIN_TYPES = frozenset(PLAIN)
#: entries of an object with settings, at most
_MOST_SETTINGS = 2000
#: of an array or tensor whose numbers are compared
_FEW_BYTES = 2**14
#: what every module has: the parts are looked at by themselves, and the mode does not count
_NOT_LOOKED_AT = OF_EVERY_MODULE - {"_forward_hooks", "_forward_pre_hooks"}


def signature(model: nn.Module) -> tuple[object, ...]:
    """Changes when a layer is exchanged, an attribute is set, such as a dropout's strength, or a hook is hung on.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> before = signature(model)
        >>> model.p = 0.4
        >>> signature(model) == before
        False
    """
    settings = _Settings()
    return tuple((id(module), strength(module), *_attributes(module, settings)) for module in model.modules())


def _attributes(module: nn.Module, settings: _Settings) -> list[object]:
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [(name, settings.fingerprint(v, DEPTH)) for name, v in vars(module).items() if name not in _NOT_LOOKED_AT]


class _NoSettingsError(Exception):
    """An object holds more than settings."""


class _Settings:
    """Tells values of attributes apart: plain ones, containers, and objects that hold such; all others by which they are."""

    def __init__(self) -> None:
        #: objects, of which the same one is often an attribute of many modules
        self._objects: dict[int, object] = {}
        self._within = 0
        self._left = 0

    def fingerprint(self, value: Any, depth: int) -> object:
        """What differs for a value that differs."""
        if isinstance(value, PLAIN):
            return type(value), value if value == value else "nan"
        if depth and isinstance(value, (tuple, list, set, frozenset, deque)):
            return type(value), self._each(tuple(value), depth)
        if depth and isinstance(value, dict):
            return type(value), self._each(tuple(value), 1), self._each(tuple(value.values()), depth)
        if isinstance(value, np.ndarray):
            return id(value), contents(value) if value.nbytes <= _FEW_BYTES else value.shape
        if depth and isinstance(value, functools.partial):
            return id(value.func), self.fingerprint((value.args, value.keywords), depth)
        return self._of_object(value, depth)

    def _each(self, values: tuple[Any, ...], depth: int) -> object:
        kinds = tuple(map(type, values))
        if _PLAIN_TYPES.issuperset(kinds):
            return kinds, values
        if self._within:
            self._left -= len(values)
        return tuple(self.fingerprint(v, depth - 1) for v in values)

    def _of_object(self, value: Any, depth: int) -> object:
        if self._within and (self._left < 0 or isinstance(value, (nn.Module, torch.optim.Optimizer))):
            raise _NoSettingsError
        if id(value) in self._objects:
            return self._objects[id(value)]
        fields = fields_of(value) if depth else None
        if not fields:
            return id(value)
        self._objects[id(value)] = id(value)  # one that holds itself ends there
        if not self._within:
            self._left = _MOST_SETTINGS
        self._within += 1
        try:
            found: object = id(value), tuple(fields), self._each(tuple(fields.values()), depth)
        except _NoSettingsError:
            if self._within > 1:
                raise
            # such as one that trains the model, which changes all the time
            found = id(value), tuple((name, type(v), v) for name, v in fields.items() if isinstance(v, PLAIN))
        finally:
            self._within -= 1
        self._objects[id(value)] = found
        return found


def numbers(model: nn.Module) -> tuple[object, ...]:
    """Changes when numbers of the model are: parameters, buffers, and tensors among the attributes."""
    tensors = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        tensors += [v for v in vars(module).values() if isinstance(v, Tensor)]
    return tuple((id(v), None if v.is_inference() else v._version) for v in tensors)


def numbers_in(tensors: Sequence[Tensor]) -> tuple[object, ...]:
    """Changes when numbers in these are, also where that is done through ``.data`` if they are few."""
    return tuple(
        (v.data_ptr(), None if v.is_inference() else v._version, contents(v) if v.nbytes <= _FEW_BYTES else None)
        for v in tensors
    )


def contents(value: Any) -> object:
    """Tells arguments apart that are no tensors, by what is in them.

    Example:
        >>> contents((torch.zeros(2000), 1)) == contents((torch.zeros(2000), 1))
        True
    """
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, (tuple, list)):
        return type(value), tuple(map(contents, value))
    if isinstance(value, dict):
        return type(value), tuple((contents(k), contents(v)) for k, v in value.items())
    try:
        if isinstance(value, Tensor):  # pickled, equal ones differ
            numbers_of = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return tuple(value.shape), value.dtype, value.device, blake2b(numbers_of.tobytes()).digest()
        return blake2b(pickle.dumps(value)).digest()
    except Exception:  # not everything can be pickled
        return type(value), id(value)


@contextmanager
def unchanged(model: nn.Module, watching: bool = True) -> Iterator[Memory]:
    """Give every attribute, hook, parameter and buffer its value back, also after an exception.

    Lists, dicts, sets, arrays, generators of random numbers and plain objects among the attributes get their contents
    back. Tensors get their numbers back, of which a copy is made when code is about to write into them.

    Args:
        model: any module.
        watching: whether all writes are looked for here, at some cost for each operation, and not where other code runs.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with unchanged(model):
        ...     model.last = model(torch.ones(3, 2))
        >>> hasattr(model, "last"), model.num_batches_tracked.item()
        (False, 0)
    """
    attributes = KeptAttributes(model)
    states = [(generator, state_of(generator)) for generator in own_generators(model)]
    memory = Memory(attributes.tensors)
    if watching:
        memory.compare()
    try:
        with memory.watched(), WriteWatch() if watching else nullcontext():
            yield memory
    finally:
        attributes.give_back()
        for generator, state in states:
            give_back_state(generator, state)
        memory.give_back()


def check_materialized(model: nn.Module) -> None:
    """Raise a SettingError while a model has lazy layers that have not run yet."""
    lazy = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if is_lazy(value)]
    if lazy:
        raise SettingError(
            f"{type(model).__name__} has uninitialized lazy parameters ({', '.join(lazy[:3])}{', ...' if lazy[3:] else ''}): "
            "run it once on a batch before predicting"
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The module within those that only run it: compiled ones and torch's data-parallel ones.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(linear)) is linear
        True
    """
    inner: Any
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = model.module
    else:
        inner = getattr(model, "_orig_mod", None)
    return model if inner is None else unwrapped(inner)
