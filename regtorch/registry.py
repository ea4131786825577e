"""Names -> components, without importing torch.

A component is a class under the line ``@register("<kind>", "<name>")``. The built-in ones are found by
reading that line in the source files of the kind's package, so that they can be listed, and looked up,
before anything heavy is imported; a component is imported when it is first created.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from regtorch.errors import NameTakenError, SettingError, UnknownNameError
from regtorch.lazy_package import no_attribute
from regtorch.plugins import being_imported, loaded

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

# Plugins add to these; they are imported when a component is first looked for.

#: kind -> the package its built-in components live in
PACKAGES = {
    "regularizer": "regularizers",
    "dropout": "dropout",
    "constraint": "constraints",
    "initializer": "initializers",
    "activation": "activations",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
    "schedule": "schedules",
    "model": "models",
    "data": "data",
    "augmentation": "augmentations",
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: what YAML or Hydra read as something else than a word
_NO_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")

_DECLARATION = re.compile(r'^@register\("(\w+)", "(\w+)"\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE)

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """One registered component: what it is called and where it comes from."""

    kind: str
    name: str
    module: str
    attribute: str
    factory: Callable[..., Any] | None = None
    #: the modules that were being imported when it was registered
    importing: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """The importable name of the class or function."""
        return f"{self.module}.{self.attribute}"

    def load(self) -> Callable[..., Any]:
        """The class or function itself; a built-in one is imported on first use."""
        return self.factory or getattr(importlib.import_module(self.module), self.attribute)


@cache
def _declared(package: str) -> tuple[Component, ...]:
    """Every component that a source file in one of our packages declares."""
    return tuple(
        Component(kind, name, f"regtorch.{package}.{path.stem}", attribute)
        for path in sorted((Path(__file__).parent / package).glob("*.py"))
        for kind, name, attribute in _DECLARATION.findall(path.read_text(encoding="utf-8"))
    )


@cache
def _builtin() -> dict[tuple[str, str], Component]:
    """Every component of ours, by kind and name."""
    return {(found.kind, found.name): found for package in PACKAGES.values() for found in _declared(package)}


def homes(*packages: str) -> dict[str, str]:
    """Python name -> module of each component of ours in these packages, e.g. ``"regularizers"``; without any, in all.

    Example:
        >>> homes("constraints")["MaxNorm"]
        'regtorch.constraints.max_norm'
    """
    return {found.attribute: found.module for p in packages or PACKAGES.values() for found in _declared(p)}


_registered: dict[tuple[str, str], Component] = {}


def _components() -> dict[tuple[str, str], Component]:
    loaded()
    return _builtin() | _registered


def registered() -> list[Component]:
    """Everything that is not built in."""
    return [component for place, component in _registered.items() if place not in _builtin()]


def own() -> list[Component]:
    """What neither we nor an installed plugin have registered: a user's own script or notebook has."""
    theirs = {id(component) for plugin in loaded() for component in plugin.components}
    return [component for component in registered() if id(component) not in theirs]


def is_registered(kind: str, name: str) -> bool:
    """Whether there is a component of that name."""
    return (kind, name) in _components()


def forget(components: Sequence[Component]) -> None:
    """Take components out again."""
    for component in components:
        _registered.pop((component.kind, component.name), None)


def _check_kind(kind: str) -> None:
    if kind not in PACKAGES:
        raise UnknownNameError(f"there is no kind {kind!r} of component{near(kind, PACKAGES)}")


def near(name: str, names: Any) -> str:
    """What was perhaps meant, and what there is, to end a message with."""
    known = sorted(names)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    listed = ", ".join(known)
    return f"; did you mean {' or '.join(near)}? (there are: {listed})" if near else f"; there are: {listed}"


def register(kind: str, name: str) -> Callable[[C], C]:
    """Make a class (or a function that builds one) known as `name` among the components of `kind`.

    Args:
        kind: one of `regtorch.registry.PACKAGES`, e.g. ``"regularizer"``.
        name: what configurations and `create` call it.

    Raises:
        SettingError: a name that could not be said on a command line.
        NameTakenError: another component has that name; both owners are named.

    Example:
        >>> import regtorch
        >>> @regtorch.register("regularizer", "sum_of_fourth_powers")
        ... class SumOfFourthPowers(regtorch.Regularizer):
        ...     def forward(self, w):
        ...         return w.pow(4).sum()
        >>> "sum_of_fourth_powers" in regtorch.available("regularizer")
        True
    """
    _check_kind(kind)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _NO_WORDS:
        raise SettingError(
            f"{name!r} is no name for a {kind}: it must be letters, digits, _ and -, begin with a letter, "
            f"and be none of {', '.join(_NO_WORDS)}"
        )

    def decorate(factory: C) -> C:
        if not callable(factory) or not hasattr(factory, "__qualname__"):
            raise SettingError(
                f"register({kind!r}, {name!r}) of {factory!r} is not allowed: it must be a class, or a function that builds a "
                f"{kind}"
            )
        new = Component(kind, name, factory.__module__, factory.__qualname__, factory, being_imported())
        # plugins are not asked: this may be one that is being imported, or the user's own class, which comes first
        taken = (_builtin() | _registered).get((kind, name))
        reloaded = taken is not None and taken.owner == new.owner and "<locals>" not in new.owner
        if taken is not None and not reloaded:
            raise NameTakenError(f"{kind} {name!r} is taken: {taken.owner} has it, {new.owner} wants it")
        _registered[kind, name] = new
        factory.registered_as = (kind, name)  # type: ignore[attr-defined]
        return factory

    return decorate


def available(kind: str) -> list[str]:
    """The names of all components of a kind, sorted; imports none of them.

    Example:
        >>> from regtorch import available
        >>> "l1_l2" in available("regularizer")
        True
    """
    _check_kind(kind)
    return sorted(name for k, name in _components() if k == kind)


def component(kind: str, name: str) -> Component:
    """The record of one component.

    Raises:
        UnknownNameError: nothing is registered under that name; the nearest names are listed.
    """
    _check_kind(kind)
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
        **settings: what the component's class takes. A rule (regularizer, constraint) also takes ``where``,
            the place it is bound to unless the binding says otherwise.

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
    """The class or function that a plugin, or a user's own code, has registered under this Python name.

    Raises:
        AttributeError: no component has that name.
    """
    loaded()
    for found in registered():
        if found.attribute == name:
            return found.load()
    import regtorch

    raise no_attribute(regtorch, name)
