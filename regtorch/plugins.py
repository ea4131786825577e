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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        reason: why it is left out; empty: it is not.
        folder: of its module; its own configuration files are in ``conf/`` there.
    """

    name: str
    module: str
    package: str = ""
    components: list[Component] = field(default_factory=list)
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
#: entry points whose modules are being imported, by the user's own code
_waiting: list[Any] = []
_lock = threading.RLock()


def loaded() -> list[Plugin]:
    """All installed plugins, imported; those that are broken with the reason, which was said once.

    Example:
        >>> all(plugin.components or plugin.reason for plugin in loaded())
        True
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = []  # what plugins look for while they are imported is there already
            _waiting[:] = sorted(set(metadata.entry_points(group=GROUP)), key=lambda entry: (entry.name, entry.value))
        found, _waiting[:] = list(_waiting), []
        for entry in found:
            if _is_being_imported(entry.module):
                _waiting.append(entry)
                continue
            plugin = _load(entry, metadata.entry_points(group=GROUP))
            _loaded.append(plugin)
            if plugin.reason:
                _log.warning("plugin %s is left out: %s", plugin.name, plugin.reason)
        return _loaded


def leave_out(plugin: Plugin, reason: str) -> None:
    """Take a plugin's components and advice out again, and say why."""
    _forget(plugin, reason)
    _log.warning("plugin %s is left out: %s", plugin.name, reason)


def _forget(plugin: Plugin, reason: str) -> None:
    from regtorch import advice, registry

    registry.forget(plugin.components)
    advice.forget({component.module for component in plugin.components} | {plugin.module.partition(":")[0]})
    plugin.components, plugin.reason = [], reason


def _load(entry: Any, entries: Iterable[Any]) -> Plugin:
    from regtorch import registry
    from regtorch.contracts import check_contract
    from regtorch.errors import as_one_line

    distribution = getattr(entry, "dist", None)
    package = f"{distribution.name} {distribution.version}" if distribution is not None else ""
    plugin = Plugin(entry.name, entry.value, package)
    modules = {other.module for other in entries}

    def own() -> list[Component]:
        """What it registers, also where its module was imported before; not what another plugin does that it imports."""
        found = [(c, _closest(c.module, modules)) for c in registry.registered()]
        return [c for c, of in found if of == [entry.module] or (c in added and (not of or entry.module in of))]

    with registry.recording() as added, _looking_out_for_ctrl_c() as came:
        try:
            module = import_module(entry.module)
            if entry.attr and callable(found := entry.load()) and not isinstance(found, type):
                found()  # a function that registers
            if module.__file__ and module.__package__:  # beside a module of its own there are the files of others
                plugin.folder = Path(module.__file__).parent
            plugin.components = own()
            if not plugin.components:
                raise ValueError("it registers nothing")
            for component in plugin.components:
                check_contract(component)
        except BaseException as error:  # whatever its code does, also sys.exit
            plugin.components = own()
            _forget(plugin, as_one_line(error))
            if isinstance(error, KeyboardInterrupt) and came():
                raise
    return plugin


def _is_being_imported(name: str) -> bool:
    """Whether a module's code is running further up, and calls us."""
    module = sys.modules.get(name)
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _closest(module: str, of: Iterable[str]) -> list[str]:
    """Whose a module is: those that it is, or is in; else those that have their package in common with it.

    Example:
        >>> _closest("a.rules.huber", ["a.rules", "a.drops", "b"]), _closest("a.shared", ["a.rules", "a.drops", "b"])
        (['a.rules'], ['a.rules', 'a.drops'])
    """

    def inside(package: str) -> bool:
        return bool(package) and f"{module}.".startswith(f"{package}.")

    direct = [name for name in of if inside(name)]
    longest = max(map(len, direct), default=0)
    return [name for name in direct if len(name) == longest] or [name for name in of if inside(name.rpartition(".")[0])]


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
