"""`to_config`: a component returns the configuration node from which `create` builds it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

from regtorch.errors import SettingError
from regtorch.settings import Range


def plain(value: Any) -> Any:
    """Convert a setting's value for a configuration: components become nodes, tuples become lists."""
    if isinstance(value, Configurable):
        return value.to_config()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, Real) and not isinstance(value, (int, float)):
        return float(value)  # a NumPy number
    return value


def arguments(cls: type[Configurable]) -> list[str]:
    """Names of the constructor's arguments, without ``*args`` and ``**kwargs``."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(cls).parameters.items() if parameter.kind in named]


def _called(cls: type[Configurable]) -> str:
    return " ".join(cls.registered_as) if cls.registered_as else cls.__qualname__


class Configurable:
    """Mixin for registered classes whose constructor arguments are stored under their own names."""

    registered_as: ClassVar[tuple[str, str] | None] = None
    #: constructor arguments that are not settings (a layer to wrap, parameters to optimize)
    not_settings: ClassVar[frozenset[str]] = frozenset()
    #: ranges of settings that have a special meaning in this class; for built-in classes an expression over names of
    #: `regtorch.settings`, because the command line reads it without importing the class
    ranges: ClassVar[Mapping[str, Range]] = {}

    @classmethod
    def from_config(cls, **settings: Any) -> Any:
        """Build one from a configuration node's settings.

        Raises:
            SettingError: the constructor does not have a setting; the message lists those it has.
        """
        known = arguments(cls)
        for key, value in settings.items():
            if key not in known:
                raise SettingError(
                    f"{key}={value}: {_called(cls)} has no such setting; it has: {', '.join(known) or 'none'}"
                )
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        """Name -> value of every constructor argument."""
        return {name: plain(getattr(self, name)) for name in arguments(type(self)) if name not in self.not_settings}

    def to_config(self) -> dict[str, Any]:
        """The node from which ``create(kind, **node)`` builds an equal component."""
        if "registered_as" not in vars(type(self)) or self.registered_as is None:
            raise TypeError(f"{type(self).__qualname__} is not registered: decorate it with @register(kind, name)")
        node = {"name": self.registered_as[1], **self.settings()}
        where = getattr(self, "where", None)
        return node if where is None else {**node, "where": where}
