"""The arguments of a call of a layer: tensors and constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError
from regtorch.keras.messages import shown
from regtorch.keras.settings import Settings

#: one output of a call: the layer's name, the index of its call, the index of the output
Reference = tuple[str, int, int]

#: arguments that Keras passes on automatically
_AUTOMATIC = ("training", "mask")

#: types of arrays among the arguments
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Slot:
    """A placeholder for a tensor in a call: its index among the tensors of the call."""

    index: int


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, in their order, with a `Slot` for each tensor.

    Args:
        positional: the positional arguments.
        keywords: the keyword arguments.
        masked: whether the call has a mask.
        training: the mode in which Keras 2 always calls the layer; None if that is the mode of the model.

    Example:
        >>> Arguments((2.0, Slot(0)), {}).call(lambda a, b: a - b, [5.0])
        -3.0
    """

    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    masked: bool = False
    training: bool | None = None

    @property
    def constants(self) -> list[Any]:
        """The arguments that are not tensors of the network."""
        return [value for value in (*self.positional, *self.keywords.values()) if not isinstance(value, Slot)]

    @property
    def plain(self) -> bool:
        """Whether the arguments are exactly the tensors of the call, in their order."""
        return not self.keywords and self.positional == tuple(Slot(n) for n in range(len(self.positional)))

    def call(self, function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
        """Call a function with these tensors in their slots."""
        positional = [tensors[value.index] if isinstance(value, Slot) else value for value in self.positional]
        keywords = {
            key: tensors[value.index] if isinstance(value, Slot) else value for key, value in self.keywords.items()
        }
        return function(*positional, **keywords)


class Constant(nn.Module):
    """A tensor that does not depend on the input, such as an array by which the output of a layer is multiplied."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self) -> Tensor:
        """Return the tensor."""
        return self.value

    def extra_repr(self) -> str:
        """The shape of the tensor."""
        return f"{tuple(self.value.shape)}"


def read_call(node: Any, owner: str, name: str) -> tuple[list[Reference], Arguments]:
    """Read the tensors and arguments of a call in the format of Keras 3.

    Args:
        node: the call's node in the file.
        owner: a description of the call, for messages.
        name: name of the layer.

    Raises:
        KerasFileError: the call takes no tensor, or tensors and constants in one list.
    """
    settings = Settings(owner, node)
    args, kwargs = settings.get("args"), settings.get("kwargs") or {}
    found: list[Reference] = []
    positional: list[Any] = []
    keywords: dict[str, Any] = {}

    def slots(value: Any) -> list[Slot]:
        before = len(found)
        found.extend(_tensors(value, name))
        return [Slot(index) for index in range(before, len(found))]

    for value in args if isinstance(args, list) else [args]:
        positional.extend(slots(value) if _holds_tensor(value) else [_constant(value)])
    for key in sorted(kwargs):  # the order in which Keras flattens them
        value = kwargs[key]
        if key in _AUTOMATIC or value is None:
            continue
        if not _holds_tensor(value):
            keywords[key] = _constant(value)
        elif len(places := slots(value)) == 1:
            keywords[key] = places[0]
        else:
            positional.extend(places)
    return found, _checked(found, positional, keywords, kwargs.get("mask") is not None, owner)


def read_keras_2_call(node: list[Any], owner: str, name: str) -> tuple[list[Reference], Arguments]:
    """Read a call in the format of Keras 2: ``[[layer, call, tensor, further arguments], ...]``.

    Args:
        node: the call's node in the file.
        owner: a description of the call, for messages.
        name: name of the layer.

    Raises:
        KerasFileError: the call takes no tensor, or is malformed.
    """
    found: list[Reference] = []
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    masked, training = False, None
    for entry in [node] if node and isinstance(node[0], str) else node:
        more = entry[3] if isinstance(entry, list) and len(entry) == 4 else {}
        if not isinstance(entry, list) or len(entry) not in (3, 4) or not isinstance(more, dict):
            raise KerasFileError(f"a call of {shown(name)} takes {shown(entry)}, which cannot be read")
        if entry[0] == "_CONSTANT_VALUE":
            positional.append(_constant(entry[2]))
        else:
            positional.append(Slot(len(found)))
            found.extend(references(entry[:3], name))
        masked |= more.get("mask") is not None
        training = more["training"] if isinstance(more.get("training"), bool) else training
        for key, value in more.items():
            if key in _AUTOMATIC or value is None:
                continue
            keywords[key] = Slot(len(found)) if is_reference(value) else _constant(value)
            if is_reference(value):
                found.extend(references(value, name))
            elif isinstance(value, list) and value and all(map(is_reference, value)):
                del keywords[key]
                positional.extend(Slot(len(found) + index) for index in range(len(value)))
                found.extend(references(value, name))
    return found, replace(_checked(found, positional, keywords, masked, owner), training=training)


def _checked(
    found: list[Reference], positional: list[Any], keywords: dict[str, Any], masked: bool, owner: str
) -> Arguments:
    while positional and positional[-1] is None:
        positional.pop()
    if not found:
        raise KerasFileError(f"{owner} takes no tensor")
    return Arguments(tuple(positional), keywords, masked)


def _class_of(value: Any) -> Any:
    return value.get("class_name") if isinstance(value, dict) else None


def _holds_tensor(value: Any) -> bool:
    if _class_of(value) == "__keras_tensor__":
        return True
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_tensor, entries))


def _constant(value: Any) -> Any:
    """The Python value of a constant; arrays become tensors."""
    kind, config = _class_of(value), value.get("config") if isinstance(value, dict) else None
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        dtype = config.get("dtype", "float32")
        if dtype not in _DTYPES:
            raise KerasFileError(f"a constant of the type {shown(dtype)} cannot be read")
        return torch.from_numpy(np.array(config.get("value"), dtype))
    if kind == "__tuple__" and isinstance(config, list):
        return tuple(map(_constant, config))
    if kind == "__slice__" and isinstance(config, dict):
        return slice(config.get("start"), config.get("stop"), config.get("step"))
    if isinstance(value, dict) and value.keys() == {"start", "stop", "step"}:  # Keras 2
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, list):
        return [_constant(entry) for entry in value]
    return value


def is_reference(value: Any) -> bool:
    """Whether a value is a single [layer, call, tensor]."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and isinstance(value[0], str)
        and all(type(v) is int for v in value[1:])
    )


def references(value: Any, owner: str) -> list[Reference]:
    """All [layer, call, tensor] in a nested structure of lists and mappings, in order.

    Args:
        value: the structure.
        owner: name of the layer or model that it belongs to, for messages.

    Raises:
        KerasFileError: the structure contains something else.
    """
    if is_reference(value):
        return [(value[0], value[1], value[2])]
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]  # the order in which Keras flattens them
    if not isinstance(value, list):
        raise KerasFileError(f"{shown(owner)} refers to {shown(value)}, which is not a call of a layer")
    return [reference for entry in value for reference in references(entry, owner)]


def _tensors(value: Any, owner: str) -> Iterator[Reference]:
    """The references in an argument. Other entries next to them are not supported."""
    if _class_of(value) == "__keras_tensor__":
        yield from references(Settings(owner, value.get("config")).get("keras_history"), owner)
    elif _class_of(value) == "__tuple__":
        yield from _tensors(value.get("config"), owner)
    elif isinstance(value, dict):
        for key in sorted(value):  # the order in which Keras flattens them
            yield from _tensors(value[key], owner)
    elif isinstance(value, list):
        for entry in value:
            yield from _tensors(entry, owner)
    elif value is not None:
        raise KerasFileError(
            f"{shown(owner)} is called with tensors and {shown(value)} in one list, which cannot be read here"
        )
