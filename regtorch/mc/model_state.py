"""The state of a model: what a plan was made for, and leaving the model as it was found."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.errors import SettingError
from regtorch.mc.dropouts import strength
from regtorch.mc.own_generators import give_back as give_back_state
from regtorch.mc.own_generators import own_generators, state_of

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
#: containers within containers of an attribute that are looked into
_DEPTH = 4
#: what every module has: the parts are looked at by themselves, and the mode does not count
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"}


def signature(model: nn.Module) -> tuple[object, ...]:
    """Changes when a layer is exchanged, an attribute is set, such as a dropout's strength, or a hook is hung on.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> before = signature(model)
        >>> model.p = 0.4
        >>> signature(model) == before
        False
    """
    return tuple((id(module), strength(module), *_attributes(module)) for module in model.modules())


def _attributes(module: nn.Module) -> list[object]:
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [(name, _told(v, _DEPTH)) for name, v in vars(module).items() if name not in _OF_EVERY_MODULE]


def _told(value: Any, depth: int) -> object:
    if isinstance(value, _PLAIN):
        return type(value), value if value == value else "nan"
    if depth and isinstance(value, (tuple, list, set, frozenset)):
        return type(value), tuple(_told(v, depth - 1) for v in value)
    if depth and isinstance(value, dict):
        return type(value), tuple((_told(k, 0), _told(v, depth - 1)) for k, v in value.items())
    return id(value)


def numbers(model: nn.Module) -> tuple[object, ...]:
    """Changes when numbers of the model are: parameters, buffers, and tensors among the attributes."""
    tensors = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        tensors += [v for v in vars(module).values() if isinstance(v, Tensor)]
    return tuple((id(v), None if v.is_inference() else v._version) for v in tensors)


def contents(value: Any) -> object:
    """Tells arguments apart that are no tensors, by what is in them.

    Example:
        >>> contents((torch.zeros(2000), 1)) == contents((torch.zeros(2000), 1))
        True
    """
    if isinstance(value, _PLAIN):
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
def unchanged(model: nn.Module) -> Iterator[None]:
    """Give every attribute, hook, parameter and buffer its value back, also after an exception.

    Lists, dicts and sets among the attributes get their contents back; of other objects only which ones they are.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with unchanged(model):
        ...     model.last = model(torch.ones(3, 2))
        >>> hasattr(model, "last"), model.num_batches_tracked.item()
        (False, 0)
    """
    undo: list[Callable[[], None]] = []
    for module in model.modules():
        # what is scripted holds its attributes elsewhere
        if not isinstance(module, torch.jit.ScriptModule):
            undo.append(_contents_of(vars(module), _DEPTH))
    undo += [partial(give_back_state, generator, state_of(generator)) for generator in own_generators(model)]
    buffers = [_number_of(buffer) for buffer in model.buffers()]
    try:
        yield
    finally:
        for give_back in (*undo, *buffers):
            give_back()


def _contents_of(container: Any, depth: int) -> Callable[[], None]:
    """Puts back what is in a container."""
    kept = container.copy()
    values = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, list) else ()
    inside = [_contents_of(v, depth - 1) for v in values if depth and isinstance(v, (dict, list, set))]

    def give_back() -> None:
        if isinstance(container, list):
            if len(container) != len(kept) or any(a is not b for a, b in zip(container, kept, strict=True)):
                container[:] = kept
        elif isinstance(container, dict):
            if list(container) != list(kept) or any(container[k] is not kept[k] for k in kept):
                container.clear()
                container.update(kept)
        elif container != kept:
            container.clear()
            container.update(kept)
        for part in inside:
            part()

    return give_back


def _number_of(buffer: Tensor) -> Callable[[], None]:
    """Puts back a buffer's numbers, where they were changed in place."""
    if buffer.is_inference() and not torch.is_inference_mode_enabled():
        return lambda: None  # torch does not allow a change
    kept = buffer.detach().clone()
    version = None if buffer.is_inference() else buffer._version

    def give_back() -> None:
        if version is None or buffer._version != version:
            with torch.no_grad():
                buffer.copy_(kept)

    return give_back


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
