"""Which part of a model's output is its prediction: logits, a chosen key, or the only tensor there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from torch import Tensor

from regtorch.errors import SettingError
from regtorch.settings import shown


class Selection(Protocol):
    """A function of a model's output, of any type, that returns the part to take."""

    def __call__(self, output: Any, /) -> Any:
        """The part."""


#: a key or attribute, a place in a tuple, a function of the output, or None
Output = str | int | Selection | None

#: names that mappings of means and variances use for the logarithms of the variances
_LOG_VARIANCES = ("log_var", "log_variance", "logvar")
#: keys that a message lists at most
_LISTED = 8
#: containers within each other that are looked into: an object may hold itself
_DEPTH = 4


def check_output(output: Any) -> None:
    """Raise unless `output` names a part of a model's output.

    Raises:
        SettingError: it is neither a name, a place, a function nor None.

    Example:
        >>> check_output(1.5)
        Traceback (most recent call last):
        regtorch.errors.SettingError: output=1.5 is not allowed: it must be a key, a place in a tuple, a function or None
    """
    named = (isinstance(output, str) and output) or (isinstance(output, int) and not isinstance(output, bool))
    if not (output is None or named or callable(output)):
        raise SettingError(
            f"output={shown(output)} is not allowed: it must be a key, a place in a tuple, a function or None"
        )


def selected(output: Any, choice: Output = None) -> Any:
    """The part of a model's output that is its prediction.

    Args:
        output: a tensor, a mapping, a dataclass, another object, a tuple or a list, also nested.
        choice: a key or attribute, a place in a tuple, or a function of the output; None: a tensor itself, the
            ``logits`` of any object that has them, or what a tuple has in the only place with a tensor.

    Raises:
        SettingError: there is no tensor, nothing at the chosen place, or more than one place to choose from.

    Example:
        >>> import torch
        >>> selected({"logits": torch.zeros(1), "hidden": torch.ones(1)})
        tensor([0.])
        >>> selected((torch.zeros(1), torch.ones(1)), 1)
        tensor([1.])
    """
    if choice is not None:
        return choice(output) if callable(choice) else _part(output, choice)
    if isinstance(output, Tensor):
        return output
    logits = _named(output, "logits")
    if logits is not None:
        return selected(logits)
    if not has_tensor(output):
        raise SettingError(
            f"output=None is not allowed: the model gives {_one(output)} without a tensor; choose by a function that "
            "makes a tensor (rows, ...) of it"
        )
    if isinstance(output, (tuple, list)) and not hasattr(output, "_fields"):
        places = [place for place, part in enumerate(output) if has_tensor(part)]
        if len(places) == 1:
            return selected(output[places[0]])
        raise SettingError(
            f"output=None is not allowed: the model gives {_one(output)} with tensors in {len(places)} places; choose "
            f"one, such as output={places[0]}, or a function"
        )
    names = _names(output)
    raise SettingError(
        f"output=None is not allowed: the model gives {_one(output)} without logits; choose "
        f"{_listed(names)}, or a function"
    )


def mean_and_log_variance(output: Any) -> tuple[Tensor, Tensor] | None:
    """The two parts of a Gaussian output that keeps them apart: a pair, or ``mean`` and ``log_var`` by name.

    Example:
        >>> import torch
        >>> mean_and_log_variance({"mean": torch.zeros(1), "log_var": torch.ones(1)})
        (tensor([0.]), tensor([1.]))
    """
    mean = _named(output, "mean") if not isinstance(output, Tensor) else None
    named = [value for name in _LOG_VARIANCES if (value := _named(output, name)) is not None]
    pair: Any = (mean, named[0]) if named else output
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair):
        return pair[0], pair[1]
    return None


def has_tensor(output: Any, depth: int = _DEPTH) -> bool:
    """Whether a tensor is anywhere in an output, up to so many containers deep.

    Example:
        >>> import torch
        >>> has_tensor({"a": [torch.zeros(1)]}), has_tensor((None, 1.0))
        (True, False)
    """
    return isinstance(output, Tensor) or (depth > 0 and any(has_tensor(part, depth - 1) for part in _parts(output)))


def _parts(output: Any) -> list[Any]:
    if isinstance(output, (tuple, list)):
        return list(output)
    if isinstance(output, Mapping):
        return list(output.values())
    return [_named(output, name) for name in _names(output)]


def _names(output: Any) -> list[str]:
    """The keys of a mapping, the fields of a dataclass or named tuple, or another object's public attributes."""
    if isinstance(output, Mapping):
        return [key for key in output if isinstance(key, str)]
    if hasattr(output, "_fields"):
        return list(output._fields)
    if is_dataclass(output):
        return [field.name for field in fields(output)]
    return [name for name in getattr(output, "__dict__", {}) if not name.startswith("_")]


def _named(output: Any, name: str) -> Any:
    """What an output has under a name, or None."""
    if isinstance(output, Mapping):
        return output.get(name)
    return getattr(output, name, None)


def _part(output: Any, choice: str | int) -> Any:
    if isinstance(choice, str):
        found = _named(output, choice)
        if found is None:
            names = _names(output)
            has = f"has {', '.join(names[:_LISTED])}" if names else "has no names"
            raise SettingError(f"output={choice} is not allowed: the model gives {_one(output)}, which {has}")
        return found
    if isinstance(output, Mapping) and hasattr(output, "to_tuple"):  # an output class of transformers
        output = output.to_tuple()
    if not isinstance(output, Sequence) or not -len(output) <= choice < len(output):
        parts = f"of {len(output)}" if isinstance(output, Sequence) else "without places"
        raise SettingError(f"output={choice} is not allowed: the model gives {_one(output)} {parts}")
    return output[choice]


def _listed(names: list[str]) -> str:
    if not names:
        return "by a key"
    more = ", ..." if len(names) > _LISTED else ""
    return f"output={' or '.join(repr(name) for name in names[:_LISTED])}{more}"


def _one(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
