"""Build the modules of a run from its configuration, and read their weights from checkpoints."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.errors import DataError
from regtorch.registry import component, create
from regtorch.registry.contracts import CONTRACTS, accepted_names
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.several import SeveralRegularizers
from regtorch.schedules.base import Schedule
from regtorch.training.checkpoint_metadata import checked_content
from regtorch.training.classifier import Classifier
from regtorch.training.weights import check_types
from regtorch.where import OF_PLACE


def make_model(config: Mapping[str, Any], shape: Sequence[int], classes: int) -> nn.Module:
    """Build the model of a configuration, for inputs of this shape and this number of classes."""
    takes = accepted_names(component("model", config["model"]["name"]).load(), CONTRACTS["model"].offered)
    parts: dict[str, Any] = {name: config.get(name) for name in takes}
    model: nn.Module = create("model", **config["model"], shape=shape, classes=classes, **parts)
    return model


def make_penalties(config: Mapping[str, Any], model: nn.Module) -> list[WeightPenalty]:
    """Build the penalties of a configuration, bound to the model."""
    penalties = []
    for place in ("regularizer", "bias_regularizer", "activity_regularizer"):
        rule = create("regularizer", **config[place])
        if config[place]["name"] != "none":
            rule = _of_activity(rule) if place == "activity_regularizer" else rule
            penalties.append(WeightPenalty(model, rule, where=rule.where or OF_PLACE.get(place, "kernel")))
    return penalties


def _of_activity(rule: Regularizer) -> Regularizer:
    """Convert a regularizer of weights to one of the outputs of layers."""
    if isinstance(rule, Activity):
        return rule
    wrapped: Regularizer = (
        SeveralRegularizers([_of_activity(r) for r in rule.parts()])
        if isinstance(rule, SeveralRegularizers)
        else Activity(rule)
    )
    wrapped.where = rule.where
    return wrapped


def make_constraints(config: Mapping[str, Any], model: nn.Module) -> list[WeightConstraint]:
    """Build the constraints of a configuration, bound to the model."""
    constraints = []
    for place in ("constraint", "bias_constraint"):
        rule = create("constraint", **config[place])
        if config[place]["name"] != "none":
            constraints.append(WeightConstraint(model, rule, where=rule.where or OF_PLACE[place]))
    return constraints


def make_module(config: Mapping[str, Any], shape: Sequence[int], classes: int) -> Classifier:
    """Build the classifier of a configuration."""
    model = make_model(config, shape, classes)
    augmentation = (
        None if config["augmentation"]["name"] == "none" else create("augmentation", **config["augmentation"])
    )
    module = Classifier(
        model,
        classes,
        optimizer=lambda parameters: create("optimizer", **config["optimizer"], params=parameters),
        scheduler=lambda optimizer, **steps: create("scheduler", **config["scheduler"]).build(optimizer, **steps),
        penalties=make_penalties(config, model),
        constraints=make_constraints(config, model),
        augmentation=augmentation,
        penalty_schedule=_schedule(config["penalty_schedule"]),
        dropout_schedule=_schedule(config["dropout_schedule"]),
    )
    described = ("model", "activation", "dropout", "input_dropout", "optimizer", "data")
    module.description = {name: config[name] for name in described}
    module.description |= {"shape": list(shape), "classes": classes, "seed": config["seed"]}
    if config["compile"]:
        module.make_forward = partial(torch.compile, fullgraph=True)
    return module


def _schedule(node: Mapping[str, Any]) -> Schedule | None:
    schedule: Schedule | None = None if node["name"] == "constant" else create("schedule", **node)
    return schedule


def load_weights(module: Classifier, path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint without executing code in it, and return its complete content.

    Raises:
        DataError: the file is damaged, contains more than weights and plain data, or has weights of another model.
    """
    content = read_checkpoint(path)
    try:
        check_types(content["state_dict"], module.state_dict(), path)
        module.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise DataError(f"{path} does not fit the model of the run's configuration: {lines[0]}") from error
    return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing code in it.

    Raises:
        DataError: the file is damaged, or contains more than weights and plain data.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise DataError(
            f"{path} is not allowed: it contains more than weights and plain data{what}, and loading that could run code"
        ) from error
    except Exception as error:  # zipfile and torch raise various exceptions for a damaged file
        raise DataError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); is it complete?") from error
    return checked_content(content, str(path))
