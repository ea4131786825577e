"""Whether what a function is given is of the kind that it takes."""

from __future__ import annotations

from torch import Tensor, nn

from regtorch.errors import SettingError


def described(value: object) -> str:
    """A value of the wrong kind as a message names it: numbers and strings themselves, anything else by its type.

    Example:
        >>> described(5), described([1.0])
        ('5', 'a list')
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_module(model: object, name: str = "model") -> None:
    """Refuse what is not a module.

    Raises:
        SettingError: names the argument and the type that was given.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"{name}={described(model)} is not allowed: it must be a torch.nn.Module")


def check_tensor(value: object, taker: str = "this function") -> None:
    """Refuse what is neither a tensor nor stands for one, as the values in a ``torch.fx`` trace do.

    Raises:
        SettingError: names the type that was given.
    """
    if not isinstance(value, Tensor) and not hasattr(value, "__torch_function__"):
        advice = (
            "bind it to a model with WeightPenalty or WeightConstraint"
            if isinstance(value, nn.Module)
            else ("torch.as_tensor makes one")
        )
        raise SettingError(f"{taker} of {described(value)} is not allowed: it must be a torch.Tensor; {advice}")
