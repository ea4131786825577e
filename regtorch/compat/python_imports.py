"""Modules that are being imported, which Python records but does not publish."""

from __future__ import annotations

import sys
import threading
from importlib import _bootstrap
from typing import Any


def modules_being_imported() -> list[str]:
    """The modules whose import has started in this thread and has not ended, innermost first.

    Python marks the spec of such a module with ``_initializing``, and the importing thread owns the module's lock.
    """
    running = [name for name, module in list(sys.modules.items()) if is_being_imported(module)]
    here = threading.get_ident()
    return [name for name in reversed(running) if _owner(name) == here]


def is_being_imported(module: object) -> bool:
    """Whether the import of a module has started and has not ended, in any thread."""
    try:
        spec = object.__getattribute__(module, "__spec__")  # a plain access would import a module that loads lazily
    except AttributeError:
        return False
    return bool(getattr(spec, "_initializing", False))


def _owner(name: str) -> int | None:
    """The thread that holds the lock of a module."""
    lock: Any = _bootstrap._get_module_lock(name)  # type: ignore[attr-defined]
    owner: int | None = lock.owner
    return owner
