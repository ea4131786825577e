"""Checks of argument types."""

from __future__ import annotations

from torch import Tensor, nn

from regtorch.errors import SettingError


def described(value: object) -> str:
    """Describe a value of the wrong type for a message: numbers and strings by value, anything else by type.

    Example:
        >>> described(5), described([1.0])
        ('5', 'a list')
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_module(model: object, name: str = "model") -> None:
    """Raise an error unless the argument is a module.

    Raises:
        SettingError: it is not; the message names the argument and its type.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"{name}={described(model)} is not allowed: it must be a torch.nn.Module")


def check_tensor(value: object, function: str = "this function") -> None:
    """Raise an error unless the argument is a tensor or stands for one, as the values in a ``torch.fx`` trace do.

    Raises:
        SettingError: it is not; the message names its type.
    """
    if not isinstance(value, Tensor) and not hasattr(value, "__torch_function__"):
        advice = (
            "bind it to a model with WeightPenalty or WeightConstraint"
            if isinstance(value, nn.Module)
            else "torch.as_tensor makes one"
        )
        raise SettingError(f"{function} of {described(value)} is not allowed: it must be a torch.Tensor; {advice}")
