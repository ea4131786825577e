"""Packages that add components: found by entry point, and loaded completely or skipped with a one-line reason.

A package declares ``[project.entry-points."regtorch.plugins"]`` with one of its modules, which registers components on
import. The modules are imported when a component is first looked up.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regtorch.compat.python_imports import modules_being_imported
from regtorch.errors import as_one_line
from regtorch.registry import advice, components
from regtorch.registry.importing import loading

if TYPE_CHECKING:
    from regtorch.registry.advice import Advice
    from regtorch.registry.components import Component

GROUP = "regtorch.plugins"
_log = logging.getLogger("regtorch.plugins")


@dataclass
class Plugin:
    """One installed plugin.

    Args:
        name: name of its entry point.
        module: the module that the entry point names.
        package: its distribution and version.
        components: the components that it registered.
        advice: the advice that it registered.
        reason: why it is left out; empty if it is loaded.
        folder: folder of its module; its configuration files are in the subfolder ``conf/``.
    """

    name: str
    module: str
    package: str = ""
    components: list[Component] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)
    reason: str = ""
    folder: Path | None = None

    def configurations(self) -> Iterator[tuple[str, str, Path]]:
        """(group, option, file) of each configuration that the plugin ships."""
        root = None if self.folder is None else self.folder / "conf"
        if self.reason or root is None or not root.is_dir():
            return
        for path in sorted(root.rglob("*.yaml")):
            if path.parent != root:
                yield path.parent.relative_to(root).as_posix(), path.stem, path


_loaded: list[Plugin] | None = None
#: entry points whose modules are still to be imported; user code is importing some of them at the moment
_waiting: list[Any] = []
#: modules of all entry points
_modules: set[str] = set()
_lock = threading.RLock()
#: how long a thread waits for another one that imports the plugins, which may in turn wait for an import of the first
_PATIENCE = 10.0


def loaded() -> list[Plugin]:
    """Import all installed plugins and return them; broken ones have a reason, which is logged once.

    Example:
        >>> all(plugin.components or plugin.reason for plugin in loaded())
        True
    """
    global _loaded
    alone = _lock.acquire(timeout=_PATIENCE)
    try:
        if _loaded is None:
            _loaded = []  # plugins may look up components while they are imported
            entries = set(metadata.entry_points(group=GROUP))
            _modules.clear()
            _modules.update(entry.module for entry in entries)
            _waiting[:] = sorted(entries, key=lambda entry: (entry.name, entry.value))
        found, _waiting[:] = list(_waiting), []
        for entry in found:
            if _is_being_imported(entry.module):
                _waiting.append(entry)
                continue
            plugin = _load(entry)
            _loaded.append(plugin)
            if plugin.reason:
                _log.warning("plugin %s is left out: %s", plugin.name, plugin.reason)
        return _loaded
    finally:
        if alone:
            _lock.release()


def leave_out(plugin: Plugin, reason: str) -> None:
    """Remove a plugin's components and advice, and log the reason."""
    _forget(plugin, reason)
    _log.warning("plugin %s is left out: %s", plugin.name, reason)


def _forget(plugin: Plugin, reason: str) -> None:
    components.forget(plugin.components)
    advice.forget(plugin.advice)
    plugin.components, plugin.advice, plugin.reason = [], [], reason


def _load(entry: Any) -> Plugin:
    # imports `inspect`, which takes as long as all of this package
    from regtorch.registry.contracts import check_contract

    distribution = getattr(entry, "dist", None)
    package = f"{distribution.name} {distribution.version}" if distribution is not None else ""
    plugin = Plugin(entry.name, entry.value, package)
    known = advice.added()

    def claim() -> None:
        """Assign to the plugin what it registered, also in an earlier import, but not what another plugin registered."""
        others = {id(c) for other in _loaded or () for c in other.components}
        mine = [c for c in components.registered() if id(c) not in others and _owns(entry.module, c)]
        plugin.components = mine
        plugin.advice = [a for a in advice.added() if a not in known or _innermost_plugin(a.importing) == entry.module]

    with _watching_for_ctrl_c() as came, loading(entry.module):
        try:
            module = import_module(entry.module)
            if entry.attr and callable(found := entry.load()) and not isinstance(found, type):
                found()  # a function that registers components
            if module.__file__ and module.__package__:  # a top-level module is next to files of other packages
                plugin.folder = Path(module.__file__).parent
            claim()
            if not plugin.components:
                raise ValueError("it registers nothing")
            for component in plugin.components:
                check_contract(component)
        except BaseException as error:  # plugin code may do anything, even call sys.exit
            claim()
            _forget(plugin, as_one_line(error))
            if isinstance(error, KeyboardInterrupt) and came():
                raise
    return plugin


def _owns(module: str, component: Component) -> bool:
    """Whether a component belongs to the plugin with this module.

    It belongs to the innermost plugin whose module was being imported when the component was registered. If there was
    none, it belongs to a plugin that has the component or its module among its names.
    """
    if (importing := _innermost_plugin(component.importing)) is not None:
        return importing == module
    if component.module == module or component.module.startswith(f"{module}."):
        return True
    names = vars(sys.modules[module]).values() if module in sys.modules else ()
    return any(
        (isinstance(value, ModuleType) and value.__name__ == component.module)
        or getattr(value, "__module__", None) == component.module
        for value in names
    )


def _innermost_plugin(importing: Iterable[str]) -> str | None:
    """The innermost plugin module among the modules being imported."""
    return next((name for name in importing if name in _modules), None)


def _is_being_imported(name: str) -> bool:
    """Whether this thread is importing a module, or its package, at the moment."""
    return any(f"{name}.".startswith(f"{other}.") for other in modules_being_imported())


@contextmanager
def _watching_for_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed in the block, as a plugin may raise KeyboardInterrupt itself; True if unknown."""
    before, came = signal.getsignal(signal.SIGINT), []
    if before is signal.SIG_IGN:  # background jobs of a script ignore Ctrl-C
        yield lambda: False
        return
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: True
        return

    def note(signum: int, frame: Any) -> Any:
        came.append(signum)
        return before(signum, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        if signal.getsignal(signal.SIGINT) is note:  # a plugin may have set another handler
            signal.signal(signal.SIGINT, before)
