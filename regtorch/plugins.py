"""Packages that add components: found by their entry points, taken whole or left out with one line that says why.

A package declares ``[project.entry-points."regtorch.plugins"]`` with a module of its own, which registers components when
it is imported. The modules are imported when a component is first looked for.
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
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regtorch.advice import Advice
    from regtorch.registry import Component

GROUP = "regtorch.plugins"
_log = logging.getLogger("regtorch.plugins")


@dataclass
class Plugin:
    """One installed plugin.

    Args:
        name: of its entry point.
        module: that it names.
        package: the distribution it came in, with its version.
        components: that it added.
        advice: likewise.
        reason: why it is left out; empty: it is not.
        folder: of its module; its own configuration files are in ``conf/`` there.
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
#: entry points that are to be imported yet; of those of which a module is being imported, by the user's own code
_waiting: list[Any] = []
#: of all entry points
_modules: set[str] = set()
_lock = threading.RLock()
#: how long one thread waits for the plugins that another one imports, which may itself wait for what the first imports
_PATIENCE = 10.0


def loaded() -> list[Plugin]:
    """All installed plugins, imported; those that are broken with the reason, which was said once.

    Example:
        >>> all(plugin.components or plugin.reason for plugin in loaded())
        True
    """
    global _loaded
    alone = _lock.acquire(timeout=_PATIENCE)
    try:
        if _loaded is None:
            _loaded = []  # what plugins look for while they are imported is there already
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
    """Take a plugin's components and advice out again, and say why."""
    _forget(plugin, reason)
    _log.warning("plugin %s is left out: %s", plugin.name, reason)


def being_imported() -> tuple[str, ...]:
    """The modules whose code is running in this thread, the innermost first; of what we import ourselves no further ones."""
    names: list[str] = []
    for frame in _frames():
        if frame.f_code.co_name == "<module>":
            names.append(str(frame.f_globals.get("__name__")))
        elif frame.f_code is _load.__code__:
            return (*names, str(frame.f_locals["entry"].module))
    return tuple(names)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _forget(plugin: Plugin, reason: str) -> None:
    from regtorch import advice, registry

    registry.forget(plugin.components)
    advice.forget(plugin.advice)
    plugin.components, plugin.advice, plugin.reason = [], [], reason


def _load(entry: Any) -> Plugin:
    from regtorch import advice, registry
    from regtorch.contracts import check_contract
    from regtorch.errors import as_one_line

    distribution = getattr(entry, "dist", None)
    package = f"{distribution.name} {distribution.version}" if distribution is not None else ""
    plugin = Plugin(entry.name, entry.value, package)
    known = advice.added()

    def take() -> None:
        """What it has registered, also where it was imported before; not what another plugin did that it imports."""
        others = {id(c) for other in _loaded or () for c in other.components}
        mine = [c for c in registry.registered() if id(c) not in others and _owns(entry.module, c)]
        plugin.components = mine
        plugin.advice = [a for a in advice.added() if a not in known or _last_of_ours(a.importing) == entry.module]

    with _looking_out_for_ctrl_c() as came:
        try:
            module = import_module(entry.module)
            if entry.attr and callable(found := entry.load()) and not isinstance(found, type):
                found()  # a function that registers
            if module.__file__ and module.__package__:  # beside a module of its own there are the files of others
                plugin.folder = Path(module.__file__).parent
            take()
            if not plugin.components:
                raise ValueError("it registers nothing")
            for component in plugin.components:
                check_contract(component)
        except BaseException as error:  # whatever its code does, also sys.exit
            take()
            _forget(plugin, as_one_line(error))
            if isinstance(error, KeyboardInterrupt) and came():
                raise
    return plugin


def _owns(module: str, component: Component) -> bool:
    """Whether a component is of the plugin with this module.

    It is of the plugin whose module was being imported when it was registered, the innermost one. If none was, it is of
    the one that has it, or the module it is in, among its own names.
    """
    if (importing := _last_of_ours(component.importing)) is not None:
        return importing == module
    if component.module == module or component.module.startswith(f"{module}."):
        return True
    names = vars(sys.modules[module]).values() if module in sys.modules else ()
    return any(
        (isinstance(value, ModuleType) and value.__name__ == component.module)
        or getattr(value, "__module__", None) == component.module
        for value in names
    )


def _last_of_ours(importing: Iterable[str]) -> str | None:
    """The innermost of the modules being imported that is a plugin's."""
    return next((name for name in importing if name in _modules), None)


def _is_being_imported(name: str) -> bool:
    """Whether the code of a module, or of a package that it is in, is running further up, and calls us."""
    running = {str(f.f_globals.get("__name__")) for f in _frames() if f.f_code.co_name == "<module>"}
    return any(f"{name}.".startswith(f"{other}.") for other in running)


@contextmanager
def _looking_out_for_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came in the block, which a plugin that raises KeyboardInterrupt itself is not; in doubt it did."""
    before, came = signal.getsignal(signal.SIGINT), []
    if before is signal.SIG_IGN:  # in the background of a script it does not come
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
        if signal.getsignal(signal.SIGINT) is note:  # a plugin may have its own reasons
            signal.signal(signal.SIGINT, before)
