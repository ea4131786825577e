"""Which plugin is being imported when something is registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from regtorch.compat.python_imports import modules_being_imported

#: the module of the plugin that is being loaded, and the modules whose import had started before
_plugin: ContextVar[tuple[str, frozenset[str]] | None] = ContextVar("plugin", default=None)


@contextmanager
def loading(module: str) -> Iterator[None]:
    """Everything that is registered in the block belongs to the plugin with this module, or to one that it imports."""
    token = _plugin.set((module, frozenset(modules_being_imported())))
    try:
        yield
    finally:
        _plugin.reset(token)


def being_imported(registering: str = "") -> tuple[str, ...]:
    """The modules that are being imported in this thread, innermost first, out to a plugin that is being loaded.

    Args:
        registering: the module that registers something; our own modules belong to no plugin.
    """
    if registering.startswith("regtorch."):
        return ()
    if (plugin := _plugin.get()) is None:
        return tuple(modules_being_imported())
    module, before = plugin
    inner = [name for name in modules_being_imported() if name not in before and name != module]
    return (*inner, module)
