"""Packages whose public names are imported on first use, so that ``import regtorch`` alone imports no torch."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # typing alone takes as long to import as all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class LazyPackage(ModuleType):
    """A package that imports a public name when it is first looked up, and lists all of them without an import.

    A submodule with the name of a public object does not replace it: `regtorch.functional.l1` is the function,
    whether or not the module ``regtorch.functional.l1`` has been imported.
    """

    _homes: Callable[[], Mapping[str, str]]
    #: the homes that are known without a search; a search would import modules that are still being imported
    _known_homes: Mapping[str, str]
    _subpackages: Sequence[str]
    _otherwise: Callable[[str], Any] | None

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            value: Any = sorted({*self._homes(), *self._subpackages})
        elif name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        elif name in self._subpackages:
            value = import_module(f"{self.__name__}.{name}")
        elif home := self._homes().get(name):
            value = getattr(import_module(home), name)
        elif self._otherwise is not None:
            return self._otherwise(name)
        else:
            raise no_attribute(self, name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        is_submodule = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if is_submodule and name in self._known_homes:
            value = getattr(import_module(self._known_homes[name]), name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__getattr__("__all__"), *(name for name in vars(self) if name.startswith("__"))})


def make_lazy(
    package: str,
    homes: Mapping[str, str] | Callable[[], Mapping[str, str]],
    subpackages: Sequence[str] = (),
    otherwise: Callable[[str], Any] | None = None,
) -> None:
    """Let a package import its public names on first use.

    Args:
        package: its ``__name__``.
        homes: public name -> module that defines it; or a function that returns this, if finding the names takes time.
        subpackages: its public modules and packages.
        otherwise: looks up other names; raises AttributeError for unknown ones.
    """
    module: Any = sys.modules[package]
    module.__class__ = LazyPackage
    vars(module).update(
        _homes=homes if callable(homes) else lambda: homes,
        _known_homes={} if callable(homes) else homes,
        _subpackages=tuple(subpackages),
        _otherwise=otherwise,
    )
    if not callable(homes):
        vars(module)["__all__"] = sorted({*homes, *subpackages})


def no_attribute(module: Any, name: str) -> AttributeError:
    """The error for a name that a package does not have; it lists the nearest names."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), {known.lower() for known in module.__all__}, n=3)
    near = [known for lower in close for known in module.__all__ if known.lower() == lower]
    meant = f"did you mean {' or '.join(near)}?" if near else f"dir({module.__name__}) lists the names"
    return AttributeError(f"module {module.__name__!r} has no attribute {name!r}; {meant}")
