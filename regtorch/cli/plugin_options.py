"""Options of plugins' components: from the YAML that a plugin ships, or from its class's signature."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

from regtorch.plugins import loaded
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
        node[name] = "???" if default is parameter.empty else list(default) if isinstance(default, tuple) else default
    return {**node, "where": None} if component.kind in _RULES else node


@cache
def plugin_nodes() -> dict[tuple[str, str], Any]:
    """(group, option) -> node of all plugins' options, put where Hydra finds them."""
    nodes: dict[tuple[str, str], Any] = {}
    for plugin in loaded():
        for group, option, path in plugin.configurations():
            from omegaconf import OmegaConf

            text = path.read_text(encoding="utf-8")
            package = found.group(1) if (found := _PACKAGE.search(text)) else None
            node = OmegaConf.to_container(OmegaConf.create(text))
            nodes[group, option] = _store(group, option, node, package)
        for component in plugin.components:
            place = component.kind, component.name
            if place not in nodes:
                nodes[place] = _store(*place, derived_node(component), None)
    return nodes


def _store(group: str, option: str, node: Any, package: str | None) -> Any:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=option, node=node, group=group, package=package, provider="regtorch plugins")
    return node
