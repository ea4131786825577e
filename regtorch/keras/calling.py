"""What a layer is called with: tensors, and constants beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError
from regtorch.keras.settings import Settings
from regtorch.keras.wording import shown

#: a call of a layer whose result is taken: the layer's name, which of its calls, which of the results
Reference = tuple[str, int, int]

#: arguments that Keras passes on by itself
_PASSED_ON = ("training", "mask")

#: of arrays among the arguments
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Slot:
    """The place of a tensor in a call: its number among the tensors of the call."""

    index: int


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, in their order: a `Slot` for each tensor, all else as it is.

    Args:
        positional: those without a name.
        keywords: those with one.
        masked: whether a mask comes along.
        training: the mode that Keras 2 calls the layer in, always; None where that is the model's.

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
        """What is no tensor of the network."""
        return [value for value in (*self.positional, *self.keywords.values()) if not isinstance(value, Slot)]

    @property
    def plain(self) -> bool:
        """Whether these are all tensors of the call in their order."""
        return not self.keywords and self.positional == tuple(Slot(n) for n in range(len(self.positional)))

    def call(self, function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
        """Call a function with these tensors at their places."""
        positional = [tensors[value.index] if isinstance(value, Slot) else value for value in self.positional]
        keywords = {
            key: tensors[value.index] if isinstance(value, Slot) else value for key, value in self.keywords.items()
        }
        return function(*positional, **keywords)


class Constant(nn.Module):
    """A tensor that does not depend on the input, such as the array that a layer's output is multiplied by."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value

    def extra_repr(self) -> str:
        """Its shape."""
        return f"{tuple(self.value.shape)}"


def read_call(node: Any, owner: str, name: str) -> tuple[list[Reference], Arguments]:
    """The tensors that a call takes, and its arguments, as Keras 3 writes them.

    Args:
        node: of the file.
        owner: what is called, for messages.
        name: of the layer.

    Raises:
        KerasFileError: it takes no tensor, or tensors and constants in one list.
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
        if key in _PASSED_ON or value is None:
            continue
        if not _holds_tensor(value):
            keywords[key] = _constant(value)
        elif len(places := slots(value)) == 1:
            keywords[key] = places[0]
        else:
            positional.extend(places)
    return found, _checked(found, positional, keywords, kwargs.get("mask") is not None, owner)


def read_older_call(node: list[Any], owner: str, name: str) -> tuple[list[Reference], Arguments]:
    """The same as Keras 2 writes it: ``[[layer, call, tensor, further arguments], ...]``.

    Args:
        node: of the file.
        owner: what is called, for messages.
        name: of the layer.

    Raises:
        KerasFileError: it takes no tensor, or cannot be read.
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
            if key in _PASSED_ON or value is None:
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
    """A constant as Python has it; an array as a tensor."""
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
    """Whether a value is one [layer, call, tensor]."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and isinstance(value[0], str)
        and all(type(v) is int for v in value[1:])
    )


def references(value: Any, owner: str) -> list[Reference]:
    """All [layer, call, tensor] in a structure of lists and mappings, in order.

    Args:
        value: the structure.
        owner: whose it is, for messages.

    Raises:
        KerasFileError: something else is in it.
    """
    if is_reference(value):
        return [(value[0], value[1], value[2])]
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]  # the order in which Keras flattens them
    if not isinstance(value, list):
        raise KerasFileError(f"{shown(owner)} refers to {shown(value)}, which is no call of a layer")
    return [reference for entry in value for reference in references(entry, owner)]


def _tensors(value: Any, owner: str) -> Iterator[Reference]:
    """The references in an argument; anything else that stands there is more than can be read."""
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
