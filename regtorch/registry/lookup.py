"""Look up components by name, without importing torch.

A component is a class decorated with ``@register("<kind>", "<name>")``. Built-in components are found by reading this
line in the source files of the kind's package, so they can be listed and looked up before anything heavy is imported.
A component is imported when it is first created.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, overload

from regtorch.errors import UnknownNameError
from regtorch.lazy_package import no_attribute
from regtorch.registry.components import Component, check_kind, known, near, registered
from regtorch.registry.plugins import loaded

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from regtorch.augmentations.base import Augmentation
    from regtorch.constraints.base import Constraint
    from regtorch.data.base import DataSet
    from regtorch.initializers.base import Initializer
    from regtorch.regularizers.base import Regularizer
    from regtorch.schedulers.base import Scheduler
    from regtorch.schedules.base import Schedule


def _components() -> dict[tuple[str, str], Component]:
    loaded()
    return known()


def user_components() -> list[Component]:
    """The components that the user's script or notebook registered: neither built in nor from a plugin."""
    from_plugins = {id(component) for plugin in loaded() for component in plugin.components}
    return [component for component in registered() if id(component) not in from_plugins]


def is_registered(kind: str, name: str) -> bool:
    """Whether a component of that name is registered."""
    return (kind, name) in _components()


def available(kind: str) -> list[str]:
    """The names of all components of a kind, sorted; imports none of them.

    Example:
        >>> from regtorch import available
        >>> "l1_l2" in available("regularizer")
        True
    """
    check_kind(kind)
    return sorted(name for k, name in _components() if k == kind)


def component(kind: str, name: str) -> Component:
    """The record of one component.

    Raises:
        UnknownNameError: nothing is registered under that name; the nearest names are listed.
    """
    check_kind(kind)
    found = _components().get((kind, name))
    if found is None:
        raise UnknownNameError(f"{kind}={name} is not registered{near(name, available(kind))}")
    return found


@overload
def create(kind: Literal["regularizer"], /, name: str, **settings: Any) -> Regularizer: ...


@overload
def create(kind: Literal["constraint"], /, name: str, **settings: Any) -> Constraint: ...


@overload
def create(kind: Literal["dropout", "activation", "model"], /, name: str, **settings: Any) -> nn.Module: ...


@overload
def create(kind: Literal["initializer"], /, name: str, **settings: Any) -> Initializer: ...


@overload
def create(kind: Literal["optimizer"], /, name: str, **settings: Any) -> Optimizer: ...


@overload
def create(kind: Literal["scheduler"], /, name: str, **settings: Any) -> Scheduler: ...


@overload
def create(kind: Literal["schedule"], /, name: str, **settings: Any) -> Schedule: ...


@overload
def create(kind: Literal["data"], /, name: str, **settings: Any) -> DataSet: ...


@overload
def create(kind: Literal["augmentation"], /, name: str, **settings: Any) -> Augmentation: ...


@overload
def create(kind: str, /, name: str, **settings: Any) -> Any: ...


def create(kind: str, /, name: str, **settings: Any) -> Any:
    """Build a component from its name and settings: ``create(kind, **node)`` builds a configuration's node.

    Args:
        kind: e.g. ``"regularizer"``.
        name: the registered name.
        **settings: settings of the component's class. A rule (regularizer, constraint) also takes ``where``,
            its place unless the binding overrides it.

    Raises:
        UnknownNameError: no such kind or name.
        SettingError: a setting that the component does not have, or a value outside its range.

    Example:
        >>> from regtorch import create
        >>> create("regularizer", "l1_l2", l1=1e-5, l2=1e-4).to_config()
        {'name': 'l1_l2', 'l1': 1e-05, 'l2': 0.0001}
    """
    factory = component(kind, name).load()
    return getattr(factory, "from_config", factory)(**settings)


def attribute(name: str) -> Any:
    """The class or function with this Python name that a plugin or user code has registered.

    Raises:
        AttributeError: no component has that name.
    """
    loaded()
    for found in registered():
        if found.attribute == name:
            return found.load()
    raise no_attribute(sys.modules["regtorch"], name)
