"""Check the components of a configuration: their names are registered, and their settings are valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from regtorch import settings
from regtorch.config.mistyped import options_for
from regtorch.config.plugin_options import check_own, plugin_nodes
from regtorch.config.schema import PLACES
from regtorch.errors import RegtorchError, SettingError, as_one_line
from regtorch.registry import Component, component, create
from regtorch.registry.contracts import stand_ins
from regtorch.where import split_where

#: places that may be null
_OPTIONAL = ("head_initializer",)


def check_components(config: Mapping[str, Any]) -> None:
    """Check that each place has a registered component with valid settings."""
    for place, kind in PLACES.items():
        if config.get(place) is not None or place not in _OPTIONAL:
            check_node(place, kind, config.get(place))


def check_node(place: str, kind: str, node: Any) -> None:
    """Check the node of one component, and the nodes inside it."""
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        chooses = kind if place == kind else f"{kind}@{place}"
        option = options_for(chooses, str(node)) or f"{chooses}={node}"
        raise SettingError(
            f"{place}={node} is not allowed: it must be a node with a name; to choose an option, write {option}"
        )
    found = component(kind, node["name"])
    given = {key: value for key, value in node.items() if key != "name"}
    _check_keys(place, found, given)
    settings.check_each({k: v for k, v in given.items() if v is not None}, found.ranges, f"{place}.")
    if is_of_plugin(kind, node["name"]):
        check_own(kind, node["name"])
        if kind not in ("model", "data"):  # a model and a data set are later built and checked together
            with in_one_line(kind, node["name"], "cannot be created", place):
                create(kind, **node, **stand_ins(kind))
    _check_drop_prob(place, kind, node)
    _check_order(place, node)
    if node.get("where") is not None:
        try:
            split_where(node["where"])
        except SettingError as error:
            raise SettingError(f"{place}.{error}") from error
    _check_inner_nodes(place, kind, node)


def _check_keys(place: str, found: Component, given: Mapping[str, Any]) -> None:
    """Refuse missing values, and settings that the component does not have."""
    of = f"{found.kind} {found.name}"
    for key, value in given.items():
        if isinstance(value, str) and value == "???":
            raise SettingError(f"{place}.{key} is missing: {of} needs it; write {place}.{key}=VALUE")
    known = defaults_of(found.kind, found.name)
    if known is None:
        return
    for key, value in given.items():
        if key not in known and key != "where":
            if found.kind == "dropout" and key in ("p", "rate") and "drop_prob" in known:
                raise SettingError(f"{place}.{key}={value} is ambiguous: write {place}.drop_prob or {place}.keep_prob")
            raise SettingError(f"{place}.{key}={value}: {of} has no such setting; it has: {', '.join(known)}")
        if value is None and known.get(key) is not None:
            raise SettingError(f"{place}.{key}=null is not allowed: it must have a value, e.g. {known[key]}")


def _check_drop_prob(place: str, kind: str, node: Mapping[str, Any]) -> None:
    """Refuse a probability for ``dropout=none``, and two probabilities for any other dropout."""
    for key in ("drop_prob", "keep_prob"):
        if node["name"] == "none" and node.get(key) is not None:
            raise SettingError(
                f"{place}.{key}={node[key]} is not allowed with {place}=none, which drops nothing; take {place}=standard"
            )
    if kind == "dropout" and node.get("drop_prob") is not None and node.get("keep_prob") is not None:
        raise SettingError(
            f"{place}.drop_prob={node['drop_prob']} and {place}.keep_prob={node['keep_prob']} are both given: give one of them"
        )


def _check_order(place: str, node: Mapping[str, Any]) -> None:
    """Refuse a `min_value` above `max_value`."""
    low, high = node.get("min_value"), node.get("max_value")
    if low is not None and high is not None and low > high:
        raise SettingError(f"{place}.min_value={low} is not allowed: it must be at most max_value={high}")


def _check_inner_nodes(place: str, kind: str, node: Mapping[str, Any]) -> None:
    """Check the nodes that a component combines or applies."""
    if node["name"] == "several":
        if not isinstance(node.get("rules"), (list, tuple)) or not node["rules"]:
            raise SettingError(
                f"{place}.rules={node.get('rules')} is not allowed: it must be a non-empty list of nodes"
            )
        for index, rule in enumerate(node["rules"]):
            check_node(f"{place}.rules[{index}]", kind, rule)
    if node["name"] == "activity":
        check_node(f"{place}.regularizer", "regularizer", node.get("regularizer"))


def is_of_plugin(kind: str, name: str) -> bool:
    """Whether a component is not built in."""
    return not component(kind, name).module.startswith("regtorch.")


@contextmanager
def in_one_line(kind: str, name: str, failure: str, place: str = "") -> Iterator[None]:
    """Convert exceptions of a plugin's component to one line that names its place."""
    try:
        yield
    except RegtorchError as error:
        if not place:
            raise
        raise SettingError(f"{place}: {error}") from error
    except Exception as error:
        if not is_of_plugin(kind, name):
            raise
        raise SettingError(f"{place or kind}={name} {failure}: {as_one_line(error)}") from error


def defaults_of(kind: str, name: str) -> dict[str, Any] | None:
    """Return the settings and defaults of a component from its YAML or a plugin's class; None if it has neither."""
    node = _of_file(kind, name) or plugin_nodes().get((kind, name))
    return None if node is None else {key: value for key, value in node.items() if key != "name"}


@cache
def _of_file(kind: str, name: str) -> dict[str, Any] | None:
    """Read a component's YAML; None if it has none."""
    import yaml

    import regtorch.conf

    path = Path(regtorch.conf.__file__).parent / kind / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
