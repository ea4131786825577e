"""What a plan was made for: when that changes, it no longer holds."""

from __future__ import annotations

import pickle
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.mc.dropouts import strength

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
#: what every module has: the parts are looked at by themselves, and the mode does not count
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"}
_DEEPEST = 4


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
    return [(name, _told(v, _DEEPEST)) for name, v in vars(module).items() if name not in _OF_EVERY_MODULE]


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
