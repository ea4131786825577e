"""Keys that every configuration must have; an override such as ``~trainer`` may have removed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.errors import SettingError

#: node -> its required keys
_NODES: dict[str, tuple[str, ...]] = {
    "trainer": ("accelerator", "devices", "precision", "max_epochs"),
    "callbacks": ("patience", "monitor", "min_delta", "ema_decay"),
    "checkpoint": ("every_n_steps", "every_seconds"),
    "logger": ("csv", "tensorboard"),
    "mc": ("name",),
}
_OF_MC = ("samples", "tolerance")
#: built-in model -> keys that are read before its class is imported
_OF_MODEL: dict[str, tuple[str, ...]] = {
    "mlp": ("hidden", "batch_norm", "input_batch_norm", "bias"),
    "cnn": (
        *("channels", "kernel_size", "pooling", "head", "global_pooling", "batch_norm", "input_batch_norm", "bias"),
    ),
}
_VALUES = ("seed", "evaluate", "compile", "ckpt_path", "resume")


def check_required(config: Mapping[str, Any]) -> None:
    """Refuse a configuration without a node or a value that every run needs.

    Raises:
        SettingError: names the first missing key and the override that adds it.

    Example:
        >>> check_required({"seed": 0})
        Traceback (most recent call last):
        regtorch.errors.SettingError: trainer is missing: every run needs it; choose an option, trainer=NAME
    """
    for place, keys in _NODES.items():
        node = config.get(place)
        if not isinstance(node, Mapping):
            what = f"{place} is missing" if node is None else f"{place}={node} is not allowed"
            raise SettingError(f"{what}: every run needs it; choose an option, {place}=NAME")
        for key in (*keys, *(_OF_MC if place == "mc" and node.get("name") != "none" else ())):
            if key not in node:
                raise SettingError(f"{place}.{key} is missing: every run needs it; leave ~{place}.{key} out")
    model: Any = config.get("model")
    if isinstance(model, Mapping) and isinstance(name := model.get("name"), str):
        for key in _OF_MODEL.get(name, ()):
            if key not in model:
                raise SettingError(f"model.{key} is missing: model={name} needs it; leave ~model.{key} out")
    for key in _VALUES:
        if key not in config:
            raise SettingError(f"{key} is missing: every run needs it; leave ~{key} out")
