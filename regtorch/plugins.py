"""Packages that add components: found by their entry points, taken whole or left out with one line that says why.

A package declares ``[project.entry-points."regtorch.plugins"]`` with a module of its own, which registers components when
it is imported. The modules are imported when a component is first looked for.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
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


def loaded() -> list[Plugin]:
    """All installed plugins, imported; those that are broken with the reason, which was said once.

    Example:
        >>> all(plugin.components or plugin.reason for plugin in loaded())
        True
    """
    global _loaded
    if _loaded is None:
        _loaded = []  # what plugins look for while they are imported is there already
        for entry in sorted(set(metadata.entry_points(group=GROUP)), key=lambda entry: (entry.name, entry.value)):
            plugin = _load(entry)
            _loaded.append(plugin)
            if plugin.reason:
                _log.warning("plugin %s is left out: %s", plugin.name, plugin.reason)
    return _loaded


def leave_out(plugin: Plugin, reason: str) -> None:
    """Take a plugin's components out again, and say why."""
    from regtorch import registry

    registry.forget(plugin.components)
    plugin.components, plugin.reason = [], reason
    _log.warning("plugin %s is left out: %s", plugin.name, reason)


def _load(entry: Any) -> Plugin:
    from regtorch import registry
    from regtorch.contracts import check_contract
    from regtorch.errors import as_one_line

    distribution = getattr(entry, "dist", None)
    package = f"{distribution.name} {distribution.version}" if distribution is not None else ""
    plugin = Plugin(entry.name, entry.value, package)
    with registry.recording() as added, _looking_out_for_ctrl_c() as came:
        try:
            module = import_module(entry.module)
            if entry.attr and callable(found := entry.load()) and not isinstance(found, type):
                found()  # a function that registers
            plugin.folder = Path(module.__file__).parent if module.__file__ else None
            if not added:
                raise ValueError("it registers nothing")
            for component in added:
                check_contract(component)
        except BaseException as error:  # whatever its code does, also sys.exit
            registry.forget(added)
            if isinstance(error, KeyboardInterrupt) and came():
                raise
            plugin.reason = as_one_line(error)
        else:
            plugin.components = list(added)
    return plugin


@contextmanager
def _looking_out_for_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came in the block, which a plugin that raises KeyboardInterrupt itself is not; in doubt it did."""
    before, came = signal.getsignal(signal.SIGINT), []
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
