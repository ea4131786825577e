"""Settings that are valid alone but not together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch import settings
from regtorch.config.components import defaults_of
from regtorch.errors import NothingBoundError, SettingError
from regtorch.models.names import layer_names, parameter_names
from regtorch.registry import component
from regtorch.where import OF_PLACE, matches


def check_combinations(config: Mapping[str, Any]) -> None:
    """Check all combinations of settings.

    Raises:
        RegtorchError: the first one that is not allowed.
    """
    _check_dropouts(config)
    _check_strategy(config)
    check_places(config)
    check_schedules(config)


def _check_dropouts(config: Mapping[str, Any]) -> None:
    """Refuse dropouts at places that they are not made for."""
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


def _check_strategy(config: Mapping[str, Any]) -> None:
    """Refuse what cannot be computed on sharded weights."""
    if config["trainer"].get("strategy") != "fsdp":
        return
    if config["callbacks"].get("ema_decay") is not None:
        raise SettingError(
            f"callbacks.ema_decay={config['callbacks']['ema_decay']} is not allowed with trainer.strategy=fsdp, "
            "whose weights are sharded; take trainer=ddp"
        )
    if config["compile"]:
        raise SettingError(
            "compile=true is not allowed with trainer.strategy=fsdp, whose gathering of weights cannot be compiled; "
            "take compile=false or trainer=ddp"
        )


def check_places(config: Mapping[str, Any]) -> None:
    """Refuse a rule that matches no parameter of a built-in model."""
    if config["model"]["name"] not in ("mlp", "cnn"):
        return
    names = list(parameter_names(config["model"], activation=config["activation"], dropout=config["dropout"]))
    for place in ("regularizer", "bias_regularizer", "activity_regularizer", "constraint", "bias_constraint"):
        node = config[place]
        several = node["name"] == "several"
        for index, rule in enumerate(node["rules"] if several else [node]):
            key = f"{place}.rules[{index}]" if several else place
            where = rule.get("where") or OF_PLACE.get(place, "kernel")
            of_layers = place == "activity_regularizer" or rule["name"] == "activity"
            candidates = layer_names(names) if of_layers else names
            if rule["name"] != "none" and not any(matches(where, *found) for found in candidates):
                what = "layer" if of_layers else "parameter"
                raise NothingBoundError(
                    f"{key}.where={where} matches no {what} of the {config['model']['name']}; "
                    f"it has: {', '.join(name for name, *_ in candidates)}"
                )


def check_schedules(config: Mapping[str, Any]) -> None:
    """Refuse a schedule whose penalties or dropouts are all switched off."""
    of = {
        "penalty_schedule": ("regularizer", "bias_regularizer", "activity_regularizer"),
        "dropout_schedule": ("dropout", "input_dropout"),
    }
    for place, targets in of.items():
        name, built_in = config[place]["name"], config["model"]["name"] in ("mlp", "cnn")
        if name != "constant" and built_in and all(config[target]["name"] == "none" for target in targets):
            raise SettingError(
                f"schedule@{place}={name} is not allowed with {targets[0]}=none, which it would have no effect on; choose a "
                f"{targets[0]}, or take schedule@{place}=constant"
            )

    for key in ("start", "end"):
        if (
            defaults_of("schedule", config["dropout_schedule"]["name"]) is not None
            and key in config["dropout_schedule"]
        ):
            for place in of["dropout_schedule"]:
                _check_scheduled_dropout(config, place, key)


def _check_scheduled_dropout(config: Mapping[str, Any], place: str, key: str) -> None:
    """Refuse a factor that would move a built-in dropout's probability out of its range."""
    node, factor = config[place], config["dropout_schedule"][key]
    if factor <= 1 or defaults_of("dropout", node["name"]) is None or "drop_prob" not in node:
        return
    keep_prob, nominal = node.get("keep_prob"), node.get("drop_prob")
    if nominal is None and keep_prob is not None:
        nominal = 1 - keep_prob
    if nominal is None:
        nominal = component("dropout", node["name"]).load().default_drop_prob  # type: ignore[attr-defined]
    try:
        settings.check(ranges=component("dropout", node["name"]).ranges, drop_prob=round(nominal * factor, 9))
    except SettingError as error:
        raise SettingError(
            f"dropout_schedule.{key}={factor:g} is not allowed with {place}.drop_prob={nominal:g}: their product, {error}"
        ) from error
