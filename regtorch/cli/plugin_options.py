"""Options of plugins' components: from the YAML that a plugin ships, or from its class's signature."""

from __future__ import annotations

import inspect
import re
from functools import cache
from numbers import Real
from typing import Any

from regtorch.plugins import Plugin, leave_out, loaded
from regtorch.registry import Component

_RULES = ("regularizer", "constraint")
_PACKAGE = re.compile(r"^# *@package +(\S+)", re.MULTILINE)


def derived_node(component: Component) -> dict[str, Any]:
    """The configuration node of a component without a YAML: its settings with their defaults, ``???`` where there are none.

    Example:
        >>> import regtorch
        >>> class Huber(regtorch.Regularizer):
        ...     def __init__(self, delta: float, strength: float = 0.01) -> None: ...
        >>> derived_node(Component("regularizer", "huber", "my_package", "Huber", Huber))
        {'name': 'huber', 'delta': '???', 'strength': 0.01, 'where': None}
    """
    factory = component.load()
    left_out = getattr(factory, "not_settings", ())
    node: dict[str, Any] = {"name": component.name}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in left_out:
            continue
        default = parameter.default
        if default is parameter.empty:
            node[name] = "???"
        elif isinstance(default, Real) and not isinstance(default, (bool, int)):
            node[name] = float(default)  # a NumPy number
        elif _is_plain(default):
            node[name] = list(default) if isinstance(default, tuple) else default
        # else it is nothing that a configuration can say: it stays what the class has
    return {**node, "where": None} if component.kind in _RULES else node


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(v) for key, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


@cache
def plugin_nodes() -> dict[tuple[str, str], Any]:
    """(group, option) -> node of all plugins' options, put where Hydra finds them."""
    nodes: dict[tuple[str, str], Any] = {}
    for plugin in loaded():
        try:
            nodes |= _nodes_of(plugin)
        except Exception as error:  # a file that is no YAML, a signature that cannot be read
            leave_out(plugin, f"its configuration cannot be read, {' '.join(str(error).split())}")
    return nodes


def _nodes_of(plugin: Plugin) -> dict[tuple[str, str], Any]:
    from omegaconf import OmegaConf

    nodes: dict[tuple[str, str], Any] = {}
    packages: dict[tuple[str, str], str | None] = {}
    for group, option, path in plugin.configurations():
        text = path.read_text(encoding="utf-8")
        packages[group, option] = found.group(1) if (found := _PACKAGE.search(text)) else None
        nodes[group, option] = OmegaConf.to_container(OmegaConf.create(text))
        if not isinstance(nodes[group, option], dict):
            raise ValueError(f"{path.name} holds no keys")
    for component in plugin.components:
        nodes.setdefault((component.kind, component.name), derived_node(component))
    for place, node in nodes.items():
        _store(*place, node, packages.get(place))
    return nodes


def _store(group: str, option: str, node: Any, package: str | None) -> Any:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=option, node=node, group=group, package=package, provider="regtorch plugins")
    return node
