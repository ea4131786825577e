"""Check the keys of a configuration outside components: all that are needed, no others, and their ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from regtorch.config.mistyped import key_for
from regtorch.config.python_only import python_only
from regtorch.config.schema import (
    OTHER_KEYS,
    PASSED_TO_LIGHTNING,
    PLACES,
    SET_BY_REGTORCH,
    Run,
    nodes,
    ranges,
    required,
)
from regtorch.errors import SettingError
from regtorch.registry import near

#: built-in model -> keys that are read before its class is imported
_OF_MODEL: dict[str, tuple[str, ...]] = {
    "mlp": ("hidden", "batch_norm", "input_batch_norm", "bias"),
    "cnn": (
        *("channels", "kernel_size", "pooling", "head", "global_pooling", "batch_norm", "input_batch_norm", "bias"),
    ),
}


def check_required(config: Mapping[str, Any]) -> None:
    """Refuse a configuration without a node or a value that every run needs; ``~trainer`` may have removed it.

    Raises:
        SettingError: names the first missing key and the override that adds it.

    Example:
        >>> check_required({"seed": 0})
        Traceback (most recent call last):
        regtorch.errors.SettingError: trainer is missing: every run needs it; choose an option, trainer=NAME
    """
    for place, schema in nodes().items():
        node = config.get(place)
        if not isinstance(node, Mapping):
            what = f"{place} is missing" if node is None else f"{place}={node} is not allowed"
            raise SettingError(f"{what}: every run needs it; choose an option, {place}=NAME")
        samples = ("samples", "tolerance") if place == "mc" and node.get("name") != "none" else ()
        for key in (*required(schema), *samples):
            if key not in node:
                raise SettingError(f"{place}.{key} is missing: every run needs it; leave ~{place}.{key} out")
    model: Any = config.get("model")
    if isinstance(model, Mapping) and isinstance(name := model.get("name"), str):
        for key in _OF_MODEL.get(name, ()):
            if key not in model:
                raise SettingError(f"model.{key} is missing: model={name} needs it; leave ~model.{key} out")
    for key in required(Run):
        if key not in config:
            raise SettingError(f"{key} is missing: every run needs it; leave ~{key} out")


def check_known(config: Mapping[str, Any]) -> None:
    """Refuse keys that no run has, with the key that is meant.

    Raises:
        SettingError: the first such key.
    """
    known = sorted((*PLACES, *OTHER_KEYS))
    for key, value in config.items():
        if key not in known:
            meant = key_for(key, str(value))
            instead = f"write {meant}" if meant else f"it must be one of {', '.join(known)}"
            raise SettingError(f"{key}={value}: there is no such key; {python_only(key) or instead}")
    for place, schema in nodes().items():
        if place != "trainer":
            _check_keys(place, config[place], [field.name for field in fields(schema)])
    _check_trainer_keys(config["trainer"])


def _check_keys(place: str, node: Mapping[str, Any], known: list[str]) -> None:
    for key, value in node.items():
        if key not in known:
            raise SettingError(f"{place}.{key}={value}: there is no such key; it must be one of {', '.join(known)}")


def _check_trainer_keys(trainer: Mapping[str, Any]) -> None:
    known = {*(field.name for field in fields(nodes()["trainer"])), *PASSED_TO_LIGHTNING}
    for key, value in trainer.items():
        if key in SET_BY_REGTORCH:
            raise SettingError(f"trainer.{key}={value} is not allowed: regtorch sets it itself")
        if key not in known:
            raise SettingError(f"trainer.{key}={value}: Lightning's Trainer has no such setting{near(key, known)}")


def check_ranges(config: Mapping[str, Any]) -> None:
    """Check the ranges of all keys outside components.

    Raises:
        SettingError: a value is outside its range; the first one is reported.
    """
    for key, allowed in ranges().items():
        node: Any = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node.get(parent, {})
        if last in node:
            if isinstance(node[last], str) and re.fullmatch(r"\d+ *(-|:|\.\.+) *\d+", node[last]):
                raise SettingError(
                    f"{key}={node[last]} is not allowed: it must be {allowed.words}; for a grid: -m '{key}=range(1,6)'"
                )
            allowed.check(key, node[last])
