"""Options for components of plugins: from the YAML that a plugin ships, or from the class's signature.

Components that a user's script registers become options in the same way.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import regtorch.conf
from regtorch.errors import ContractError, as_one_line
from regtorch.registry import PACKAGES, Component, component, near, user_components
from regtorch.registry.contracts import CONTRACTS, accepted_names, check_contract
from regtorch.registry.plugins import Plugin, leave_out, loaded

_CONF = Path(regtorch.conf.__file__).parent
_RULES = ("regularizer", "constraint")
_stored: set[Path] = set()
_own_stored: dict[tuple[str, str], Any] = {}
_PACKAGE = re.compile(r"^# *@package +(\S+)", re.MULTILINE)


def derive_node(of: Component) -> dict[str, Any]:
    """Derive the configuration node of a component without a YAML: its settings with defaults, or ``???`` if required.

    Example:
        >>> import regtorch
        >>> class Huber(regtorch.Regularizer):
        ...     def __init__(self, delta: float, strength: float = 0.01) -> None: ...
        >>> derive_node(Component("regularizer", "huber", "my_package", "Huber", Huber))
        {'name': 'huber', 'delta': '???', 'strength': 0.01, 'where': None}
    """
    factory, contract = of.load(), CONTRACTS[of.kind]
    left_out = {*getattr(factory, "not_settings", ()), *contract.given, *contract.offered}
    node: dict[str, Any] = {"name": of.name}
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
        # other defaults cannot be written in a configuration: the class's default applies
    return {**node, "where": None} if of.kind in _RULES else node


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(v) for key, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def plugin_nodes() -> dict[tuple[str, str], Any]:
    """Register the options of all plugins and of the user's script with Hydra; return (group, option) -> node."""
    return {**_own_nodes(), **_nodes_of_plugins()}


def _own_nodes() -> dict[tuple[str, str], Any]:
    """Return the nodes of the user's components; a component whose signature cannot be read has no settings."""
    nodes: dict[tuple[str, str], Any] = {}
    for added in user_components():
        try:
            nodes[added.kind, added.name] = derive_node(added)
        except (TypeError, ValueError):
            nodes[added.kind, added.name] = {"name": added.name}
    for (kind, name), node in nodes.items():
        if _own_stored.get((kind, name)) != node:
            _own_stored[kind, name] = _store(kind, name, node, None)
    return nodes


def check_own(kind: str, name: str) -> None:
    """Check that a component of the user's script fulfills its kind's contract; plugins are checked when loaded.

    Raises:
        ContractError: it does not.
    """
    for added in user_components():
        if (added.kind, added.name) == (kind, name):
            check_contract(added)


@cache
def _nodes_of_plugins() -> dict[tuple[str, str], Any]:
    nodes: dict[tuple[str, str], Any] = {}
    for plugin in loaded():
        try:
            nodes |= _nodes_of(plugin, nodes)
        except Exception as error:  # a signature that cannot be read
            leave_out(plugin, as_one_line(error))
    return nodes


def _nodes_of(plugin: Plugin, before: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    nodes: dict[tuple[str, str], Any] = {}
    packages: dict[tuple[str, str], str | None] = {}
    for group, option, path in plugin.configurations():
        if path in _stored:  # another plugin in the same folder has registered it
            continue
        try:
            nodes[group, option], packages[group, option] = _read(path)
            if (group, option) in before or (_CONF / group / path.name).exists():
                raise ContractError(f"{group}={option} exists already")
            _check(group, nodes[group, option])
        except Exception as error:
            raise ContractError(f"its conf/{group}/{path.name}: {as_one_line(error)}") from error
    for added in plugin.components:
        nodes.setdefault((added.kind, added.name), derive_node(added))
    for (group, option), node in nodes.items():
        if group in _RULES:
            node.setdefault("where", None)
        _store(group, option, node, packages.get((group, option)))
    _stored.update(path for *_, path in plugin.configurations())
    return nodes


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """Read a configuration file and its ``@package`` header."""
    from omegaconf import OmegaConf

    text = path.read_text(encoding="utf-8")
    node = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(node, dict):
        raise ContractError("it has no keys")
    found = _PACKAGE.search(text)
    return node, found.group(1) if found else None  # type: ignore[return-value]


def _check(group: str, node: Mapping[str, Any]) -> None:
    """Refuse a node that names no component, or has a setting that the component lacks."""
    groups = [path.name for path in _CONF.iterdir() if path.is_dir()]
    if group not in groups:
        raise ContractError(f"there is no group {group}{near(group, groups)}")
    for choice in node.get("defaults", ()):
        for key, option in choice.items() if isinstance(choice, Mapping) else ():
            kind = key.removeprefix("override ").lstrip("/").partition("@")[0]
            if kind in PACKAGES and isinstance(option, str) and not (_CONF / kind / f"{option}.yaml").exists():
                component(kind, option)
    if group not in PACKAGES:
        return
    if "name" not in node:
        raise ContractError(f"it lacks the key name, which names the {group}")
    known = component(group, node["name"])
    factory, settings = known.load(), derive_node(known)
    for key, value in node.items():
        accepts = not hasattr(factory, "from_config") and accepted_names(factory, [key])  # by **kwargs
        if key not in (*settings, "defaults") and not accepts:
            raise ContractError(
                f"{key}={value}: {group} {node['name']} has no such setting; it has: {', '.join(settings)}"
            )


def _store(group: str, option: str, node: Any, package: str | None) -> Any:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=option, node=node, group=group, package=package, provider="regtorch plugins")
    return node
