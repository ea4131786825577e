"""Check a complete configuration before importing anything heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.config.combinations import check_places, check_schedules
from regtorch.config.components import PLACES, check_components
from regtorch.config.devices import check_devices
from regtorch.config.mistyped import key_for
from regtorch.config.python_only import python_only
from regtorch.config.required import check_required
from regtorch.config.resources import check_workers
from regtorch.config.schema import _CLOSED, _OURS, OTHER_KEYS, check_run_keys, check_trainer_keys
from regtorch.config.search_space import check_settings
from regtorch.errors import SettingError


def validate(config: Mapping[str, Any]) -> None:
    """Check a configuration of `train.py`: names, keys, ranges, places of rules, devices.

    Args:
        config: as plain containers.

    Raises:
        RegtorchError: the first error, in one line.
    """
    for key, value in config.items():
        if key not in (*PLACES, *OTHER_KEYS):
            meant = key_for(key, str(value))
            known_keys = f"it must be one of {', '.join(sorted((*PLACES, *OTHER_KEYS)))}"
            instead = python_only(key) or (f"write {meant}" if meant else known_keys)
            raise SettingError(f"{key}={value}: there is no such key; {instead}")
    check_required(config)
    for place, known in _CLOSED.items():
        node: Any = config.get(place)
        if not isinstance(node, Mapping):
            raise SettingError(f"{place}={node} is not allowed: it must have the keys {', '.join(known)}")
        for key, value in node.items():
            if key not in known:
                raise SettingError(f"{place}.{key}={value}: there is no such key; it must be one of {', '.join(known)}")
    for key in _OURS:
        if key in config["trainer"]:
            raise SettingError(f"trainer.{key}={config['trainer'][key]} is not allowed: regtorch sets it itself")
    check_trainer_keys(config["trainer"])
    check_run_keys(config)
    check_components(config)
    if config["input_dropout"]["name"] == "drop_connect":
        raise SettingError(
            "input_dropout=drop_connect is not allowed: the input has no weights; take dropout=drop_connect"
        )
    if config["model"]["name"] == "cnn":
        on_maps = ["input_dropout", *(["dropout"] if config["model"].get("dropout_at") in ("conv", "both") else [])]
        for place in on_maps:
            if config[place]["name"] == "variational":
                raise SettingError(
                    f"{place}=variational is not allowed on feature maps: it is for sequences; take {place}=spatial2d"
                )
    check_devices(config["trainer"])
    check_workers(config["data"])
    if config["trainer"].get("strategy") == "fsdp" and config["callbacks"].get("ema_decay") is not None:
        raise SettingError(
            f"callbacks.ema_decay={config['callbacks']['ema_decay']} is not allowed with trainer.strategy=fsdp, "
            "whose weights are sharded; take trainer=ddp"
        )
    if "hparams_search" in config:
        check_settings(config["hparams_search"])
    if config["trainer"].get("strategy") == "fsdp" and config["compile"]:
        raise SettingError(
            "compile=true is not allowed with trainer.strategy=fsdp, whose gathering of weights cannot be compiled; "
            "take compile=false or trainer=ddp"
        )
    check_places(config)
    check_schedules(config)
