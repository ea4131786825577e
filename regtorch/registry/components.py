"""The records of components: declared in our source files, or registered by plugins and user code; needs no torch."""

from __future__ import annotations

import ast
import difflib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from regtorch import settings
from regtorch.errors import NameTakenError, SettingError, UnknownNameError
from regtorch.registry.importing import being_imported
from regtorch.settings import Range

#: kind -> the package of its built-in components
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

#: words that YAML or Hydra do not read as text
_RESERVED = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")

_DECLARATION = re.compile(r'^@register\("(\w+)", "(\w+)"\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE)

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """The name and the source of a registered component."""

    kind: str
    name: str
    module: str
    attribute: str
    factory: Callable[..., Any] | None = None
    #: the modules that were being imported when the component was registered
    importing: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """The importable name of the class or function."""
        return f"{self.module}.{self.attribute}"

    def load(self) -> Callable[..., Any]:
        """The class or function itself; a built-in one is imported on first use."""
        return self.factory or getattr(importlib.import_module(self.module), self.attribute)

    @property
    def ranges(self) -> Mapping[str, Range]:
        """The ranges that the class declares itself, read without importing a built-in one."""
        if self.factory is not None:
            declared = getattr(self.factory, "ranges", None)  # in a class of a plugin the name may mean something else
            return {k: v for k, v in declared.items() if isinstance(v, Range)} if isinstance(declared, Mapping) else {}
        return _declared_ranges(self.module).get(self.attribute, {})


@cache
def _declared(package: str) -> tuple[Component, ...]:
    """All components declared in the source files of one of our packages."""
    return tuple(
        Component(kind, name, f"regtorch.{package}.{path.stem}", attribute)
        for path in sorted((Path(__file__).parents[1] / package).glob("*.py"))
        for kind, name, attribute in _DECLARATION.findall(path.read_text(encoding="utf-8"))
    )


@cache
def _declared_ranges(module: str) -> dict[str, Mapping[str, Range]]:
    """Class -> its `ranges`, an expression over names of `regtorch.settings`, evaluated without importing the module."""
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
    found: dict[str, Mapping[str, Range]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "ranges" and line.value is not None:
                found[node.name] = eval(ast.unparse(line.value), vars(settings).copy())  # type: ignore[attr-defined]
    return found


@cache
def _builtin() -> dict[tuple[str, str], Component]:
    """All built-in components, by kind and name."""
    return {(found.kind, found.name): found for package in PACKAGES.values() for found in _declared(package)}


def homes(*packages: str) -> dict[str, str]:
    """Python name -> module of the built-in components in these packages, e.g. ``"regularizers"``; by default in all.

    Example:
        >>> homes("constraints")["MaxNorm"]
        'regtorch.constraints.max_norm'
    """
    return {found.attribute: found.module for p in packages or PACKAGES.values() for found in _declared(p)}


_registered: dict[tuple[str, str], Component] = {}


def known() -> dict[tuple[str, str], Component]:
    """All components by kind and name, as far as plugins are loaded."""
    return _builtin() | _registered


def registered() -> list[Component]:
    """All components that are not built in."""
    return [component for place, component in _registered.items() if place not in _builtin()]


def forget(components: Sequence[Component]) -> None:
    """Remove components."""
    for component in components:
        _registered.pop((component.kind, component.name), None)


def check_kind(kind: str) -> None:
    """Refuse a kind that does not exist, with near ones."""
    if kind not in PACKAGES:
        raise UnknownNameError(f"there is no kind {kind!r} of component{near(kind, PACKAGES)}")


def near(name: str, names: Any) -> str:
    """The end of a message about an unknown name: near names and all names."""
    known = sorted(names)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    listed = ", ".join(known)
    return f"; did you mean {' or '.join(near)}? (there are: {listed})" if near else f"; there are: {listed}"


def register(kind: str, name: str) -> Callable[[C], C]:
    """Register a class, or a function that builds one, as the component `name` of a kind.

    Args:
        kind: one of `regtorch.registry.PACKAGES`, e.g. ``"regularizer"``.
        name: its name in configurations and for `create`.

    Raises:
        SettingError: the name cannot be used on a command line.
        NameTakenError: another component has that name; the message names both owners.

    Example:
        >>> import regtorch
        >>> @regtorch.register("regularizer", "sum_of_fourth_powers")
        ... class SumOfFourthPowers(regtorch.Regularizer):
        ...     def forward(self, w):
        ...         return w.pow(4).sum()
        >>> "sum_of_fourth_powers" in regtorch.available("regularizer")
        True
    """
    check_kind(kind)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        raise SettingError(
            f"{name!r} is not allowed as the name of a {kind}: it must consist of letters, digits, _ and -, start with a "
            f"letter, and not be one of {', '.join(_RESERVED)}"
        )

    def decorate(factory: C) -> C:
        if not callable(factory) or not hasattr(factory, "__qualname__"):
            raise SettingError(
                f"register({kind!r}, {name!r}) of {factory!r} is not allowed: it must be a class, or a function that builds a "
                f"{kind}"
            )
        new = Component(
            kind, name, factory.__module__, factory.__qualname__, factory, being_imported(factory.__module__)
        )
        # do not load plugins here: a plugin may be calling this, and a class of the user's script takes precedence
        taken = known().get((kind, name))
        reloaded = taken is not None and taken.owner == new.owner and "<locals>" not in new.owner
        if taken is not None and not reloaded:
            raise NameTakenError(
                f"{kind} {name!r} is already registered by {taken.owner}; {new.owner} needs another name"
            )
        _registered[kind, name] = new
        factory.registered_as = (kind, name)  # type: ignore[attr-defined]
        return factory

    return decorate
