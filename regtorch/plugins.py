"""Packages that add components: found by their entry points, taken whole or left out with one line that says why.

A package declares ``[project.entry-points."regtorch.plugins"]`` with a module of its own, which registers components when
it is imported. The modules are imported when a component is first looked for.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regtorch.registry import Component

GROUP = "regtorch.plugins"
_log = logging.getLogger("regtorch")


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

    distribution = getattr(entry, "dist", None)
    package = f"{distribution.name} {distribution.version}" if distribution is not None else ""
    plugin = Plugin(entry.name, entry.value, package)
    with registry.recording() as added:
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
            if isinstance(error, KeyboardInterrupt):
                raise
            plugin.reason = _one_line(error)
            registry.forget(added)
        else:
            plugin.components = list(added)
    return plugin


def _one_line(error: BaseException) -> str:
    from regtorch.errors import RegtorchError

    text = " ".join(str(error).split())
    return text if isinstance(error, RegtorchError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def check_contract(component: Component) -> None:
    """Check that a class is what its kind is used as.

    Raises:
        ContractError: it is not.
    """
    from regtorch.errors import ContractError

    kind, factory = component.kind, component.load()
    base = _base(kind)
    called = f"{kind} {component.name!r} ({component.owner})"
    if not callable(factory):
        raise ContractError(f"{called} is nothing that can be called")
    if base is None:
        return
    if not isinstance(factory, type):
        raise ContractError(f"{called} is no class: it must be a subclass of {base.__module__}.{base.__qualname__}")
    if not issubclass(factory, base):
        raise ContractError(f"{called} must be a subclass of {base.__module__}.{base.__qualname__}")
    if missing := getattr(factory, "__abstractmethods__", None):
        raise ContractError(f"{called} lacks {', '.join(sorted(missing))}")
    if "forward" not in _defined(factory, base):
        raise ContractError(f"{called} lacks the method forward")
    if _needs_nothing(factory):
        _try(kind, called, getattr(factory, "from_config", factory)())


def _needs_nothing(factory: type) -> bool:
    """Whether one can be made without a setting."""
    parameters = inspect.signature(factory).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _try(kind: str, called: str, made: Any) -> None:
    """Let a rule work on a small weight."""
    import torch

    from regtorch.errors import ContractError

    if kind == "dropout":  # there are some for images only, and some with layers inside
        return
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        result = made(torch.linspace(-1.0, 1.0, 12).reshape(3, 4))
    wanted = () if kind == "regularizer" else (3, 4)
    shape = tuple(result.shape) if isinstance(result, torch.Tensor) else None
    if shape != wanted:
        what = f"a tensor of shape {shape}" if shape is not None else f"a {type(result).__name__}"
        raise ContractError(f"{called} gives {what} for a weight of shape (3, 4): it must give shape {wanted}")


def _base(kind: str) -> type | None:
    """What all classes of a kind are subclasses of; None: anything that can be called."""
    if kind == "regularizer":
        from regtorch.regularizers.base import Regularizer

        return Regularizer
    if kind == "constraint":
        from regtorch.constraints.base import Constraint

        return Constraint
    if kind == "dropout":
        from torch import nn

        return nn.Module
    return None


def _defined(factory: type, base: type) -> set[str]:
    """Names that a class or those between it and its base define."""
    above = set(base.__mro__)
    return {name for cls in factory.__mro__ if cls not in above for name in vars(cls)}
