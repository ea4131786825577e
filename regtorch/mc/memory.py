"""A model's numbers, kept before code writes into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.compat.torch_internals import QuickDispatchMode, is_wrapped_by_transform
from regtorch.mc.random_op import argument_of

#: bytes of a tensor of which a copy is kept to compare it with
_SMALL = 2**16
#: batch normalization writes into these in training mode, which its schema does not tell
_STATISTICS = {"running_mean", "running_var"}

_USUAL = {Tensor, nn.Parameter, nn.Buffer}
#: why a graph is not used
WRITES = "it changes parameters or buffers in place, or sets the data of a tensor"

#: of a storage, or of a tensor that has none
Key = int | tuple[str, int]

#: the last one notes what is written; after None nothing is noted
_memories: list[Memory | None] = []


class Memory:
    """Keeps the tensors of a model as they are: a copy is made of what is about to be written into, of nothing else.

    A write is seen at torch's dispatcher, so that one through ``.data``, a view or a second name counts as well.

    Args:
        tensors: parameters, buffers and others.

    Example:
        >>> weight = torch.zeros(2)
        >>> memory = Memory([weight])
        >>> with memory.watched(), WriteWatch():
        ...     _ = weight.data.add_(1)
        >>> memory.give_back()
        >>> weight
        tensor([0., 0.])
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = [t for t in {id(t): t for t in tensors}.values() if not is_lazy(t)]
        #: a second name of each tensor's memory, by which it gets it back when another was put in its place
        self._places = [(t, t.data) for t in self._tensors if _is_plain(t)]
        self._compared: list[tuple[Tensor, Tensor]] = []
        self._watched: dict[Key, Tensor] = {}
        self._kept: dict[Key, tuple[Any, Any]] = {}
        self._written: set[Key] = set()
        self._may_move = True
        #: what was written into, in order
        self.log: list[Key] = []

    def compare(self, modules: Iterable[nn.Module] | None = None) -> None:
        """Keep copies of the small tensors of these modules, or of all: that finds what NumPy writes, too."""
        chosen = None if modules is None else {id(t) for module in modules for t in _tensors_of(module)}
        self._compared += [
            (place, place.clone())
            for tensor, place in self._places
            if place.nbytes <= _SMALL and place.device.type == "cpu" and (chosen is None or id(tensor) in chosen)
        ]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note what is written while this is open."""
        with _innermost(self):
            yield

    def before_write(self, tensor: Tensor) -> None:
        """Keep what a tensor that is about to be written into shares its memory with."""
        key = _key(tensor)
        if key not in (self._watched or self._look()):
            return
        self.log.append(key)
        self._written.add(key)
        if key not in self._kept:
            original = self._watched[key]
            if isinstance(key, int):
                storage = original.untyped_storage()
                self._kept[key] = storage, storage.clone()
            else:
                self._kept[key] = original, original.detach().clone()

    def original_of(self, tensor: Tensor) -> Tensor | None:
        """The tensor of the model that another one shares its memory with; None if there is none."""
        return (self._watched or self._look()).get(_key(tensor))

    def _look(self) -> dict[Key, Tensor]:
        places = {id(t): place for t, place in self._places}
        self._watched = {_key(place): place for place in (places.get(id(t), t) for t in self._tensors)}
        return self._watched

    def wrote_outside(self, since: int, module: nn.Module | None) -> bool:
        """Whether anything has been written since the log had this length that is no part of the module."""
        keys = set(self.log[since:])
        if not keys or module is None:
            return bool(keys)
        return not keys <= set(map(_key, _tensors_of(module)))

    def is_written_unseen(self) -> bool:
        """Whether a tensor of which there is a copy has changed without a write that was seen, as by NumPy."""
        return any(_key(place) not in self._written and not _same(place, kept) for place, kept in self._compared)

    def rewound(self, result: Tensor) -> Tensor:
        """Give back what a pass wrote, so that the next one starts from there; return its result, which stays."""
        moved = self._may_move and self._put_in_place()
        self._may_move = moved  # a pass that puts other memory in place of a tensor's own does so each time
        if self._written or moved:
            result = result.clone()  # it may share that memory
            self._rewind()
        return result

    def _put_in_place(self) -> bool:
        """Give the tensors their own memory; return whether any had another."""
        moved = [(t, place) for t, place in self._places if t.data_ptr() != place.data_ptr() or t.shape != place.shape]
        for tensor, place in moved:
            tensor.data = place
        return bool(moved)

    def _rewind(self) -> None:
        with torch.no_grad(), _innermost(None):
            for key in self._written:
                place, kept = self._kept[key]
                place.copy_(kept)
        self._written.clear()

    def give_back(self) -> None:
        """Every tensor has its own memory with its numbers afterwards."""
        self._put_in_place()
        self._rewind()
        with torch.no_grad(), _innermost(None):
            for place, kept in self._compared:
                if not _same(place, kept):
                    place.copy_(kept)


@contextmanager
def _innermost(memory: Memory | None) -> Iterator[None]:
    _memories.append(memory)
    try:
        yield
    finally:
        _memories.pop()


class WriteWatch(QuickDispatchMode):
    """Tells the innermost watched memory what is written."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        note_writes(func, args, kwargs)
        return func(*args, **kwargs)


def note_writes(function: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Tell the innermost watched memory what an operation that is about to run writes into."""
    memory = _memories[-1] if _memories else None
    written = () if memory is None else written_by(function)
    if memory is None or not written:
        return
    for index, name in written:
        if name in _STATISTICS and argument_of(function, args, kwargs, "training") is False:
            continue
        value = args[index] if index < len(args) else kwargs.get(name)
        with torch._C.DisableTorchFunction():
            if isinstance(value, Tensor):
                memory.before_write(value)
            else:
                for tensor in value or ():  # of a list
                    memory.before_write(tensor)


@cache
def written_by(function: Any) -> tuple[tuple[int, str], ...]:
    """Position and name of an operation's arguments that it writes into."""
    schema = getattr(function, "_schema", None)
    arguments = () if schema is None else schema.arguments
    return tuple(
        (index, argument.name)
        for index, argument in enumerate(arguments)
        if argument.name in _STATISTICS or (argument.alias_info is not None and argument.alias_info.is_write)
    )


def _key(tensor: Tensor) -> Key:
    if type(tensor) in _USUAL or _is_plain(tensor):
        try:
            return int(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):  # such as a sparse one
            pass
    return "tensor", id(tensor)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or (a.is_floating_point() and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))


def _tensors_of(module: nn.Module) -> list[Tensor]:
    found = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        attributes = () if isinstance(part, torch.jit.ScriptModule) else vars(part).values()
        found += [value for value in attributes if isinstance(value, Tensor)]
    return found


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has memory of its own kind: no sparse one, and none of a class that computes in its own way."""
    usual = type(tensor) in _USUAL or isinstance(tensor, nn.Parameter)
    return usual and tensor.layout is torch.strided and not is_wrapped_by_transform(tensor)
