"""Settings without effect in a run, or with another effect than expected: each is reported in one line of its log."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from regtorch.mc import has_noise
from regtorch.models.parts import AsMaps
from regtorch.registry import component, create

_MOST_STEPS = 500  # steps of a learning-rate schedule to simulate; a longer one is assumed to change
_MOST_SHARES = 200  # points of the training at which a schedule's factor is evaluated


@dataclass(frozen=True)
class Facts:
    """Properties of a run that are not in its configuration.

    Args:
        model: the model before its training.
        shape: shape of one row.
        rows: number of training rows.
        validated: whether there is a validation part.
        processes: number of processes.
    """

    model: nn.Module
    shape: tuple[int, ...]
    rows: int
    validated: bool
    processes: int


def without_effect(config: Mapping[str, Any], facts: Facts) -> list[str]:
    """Return a line for each setting without effect, or with another effect than expected.

    Args:
        config: a checked configuration of ``train.py``.
        facts: properties of the run.
    """
    return [
        *_of_callbacks(config, facts),
        *_of_trainer(config, facts),
        *_of_model(config, facts),
        *_of_schedules(config, facts),
    ]


def _of_callbacks(config: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    node, epochs = config["callbacks"], config["trainer"]["max_epochs"]
    watched = node["monitor"].removeprefix("val_")
    if node["patience"] is not None and not facts.validated:
        yield (
            f"callbacks.patience={node['patience']}: there is no validation part (data.validation_fraction), so early "
            f"stopping watches the training {watched} instead of {node['monitor']}"
        )
    if config["evaluate"] == "best" and not facts.validated:
        yield (
            f"evaluate=best: there is no validation part (data.validation_fraction), so the best checkpoint is that of the "
            f"best training {watched}; to measure the last one: evaluate=last"
        )
    if node["patience"] is not None and node["patience"] >= epochs:
        yield f"callbacks.patience={node['patience']} has no effect: training ends after trainer.max_epochs={epochs}"
    if node["patience"] is None and node["min_delta"]:
        yield f"callbacks.min_delta={node['min_delta']} has no effect without callbacks.patience"


def _of_trainer(config: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    trainer = config["trainer"]
    if trainer["strategy"] in ("ddp", "fsdp") and facts.processes == 1:
        yield f"trainer.strategy={trainer['strategy']} has no effect with one process; set their number with trainer.devices"
    if trainer["gradient_clip_val"] is None and trainer["gradient_clip_algorithm"] != "norm":
        yield (
            f"trainer.gradient_clip_algorithm={trainer['gradient_clip_algorithm']} has no effect without "
            "trainer.gradient_clip_val"
        )
    mc = config["mc"]
    if mc["name"] != "none" and not has_noise(facts.model, torch.zeros(2, *facts.shape)):
        for key, usual in (("samples", 100), ("tolerance", None)):
            if mc.get(key) != usual:
                yield f"mc.{key}={mc[key]} has no effect: the model has no dropout"


def _of_model(config: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    node = config["model"]
    normed = [node.get(key) not in ("none", False, None) for key in node if key.endswith("batch_norm")]
    if normed and not any(normed):
        for key in ("momentum", "epsilon"):
            if key in node and node[key] != _default("model", node["name"], key):
                yield f"model.{key}={node[key]} has no effect without batch normalization (model.batch_norm=after)"
    if "dropout_at" in node and node["dropout_at"] != "auto" and config["dropout"]["name"] == "none":
        yield f"model.dropout_at={node['dropout_at']} has no effect with dropout=none"
    if node["name"] != "mlp":  # in an mlp, dropouts of all ranks treat a feature as a map of one pixel
        for place in ("dropout", "input_dropout"):
            yield from _of_another_rank(config, place, facts)


def _of_another_rank(config: Mapping[str, Any], place: str, facts: Facts) -> Iterator[str]:
    """Report a dropout for feature maps that acts on maps with another number of dimensions."""
    name = config[place]["name"]
    if name == "none":
        return
    expected, there = getattr(component("dropout", name).load(), "spatial_dims", None), len(facts.shape) - 1
    read = {module.spatial_dims for module in facts.model.modules() if isinstance(module, AsMaps)}
    if expected in read and expected != there:
        same = name.replace(f"{expected}d", f"{there}d")
        key = place if place == "dropout" else f"dropout@{place}"
        instead = f"; write {key}={same}" if same != name else ""
        yield f"{name} at {place} is for maps of {_dimensions(expected)}, but acts here on maps of {_dimensions(there)}{instead}"


def _dimensions(count: int) -> str:
    return f"{count} dimension{'' if count == 1 else 's'}"


def _of_schedules(config: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    trainer = config["trainer"]
    epochs = trainer["max_epochs"]
    batches = ceil(facts.rows / max(1, facts.processes) / config["data"]["batch_size"])
    steps = max(1, ceil(batches / trainer["accumulate_grad_batches"]))
    for place in ("penalty_schedule", "dropout_schedule"):
        node = config[place]
        if node["name"] != "constant":
            schedule, shares = create("schedule", **node), min(epochs * steps, _MOST_SHARES)
            if all(schedule.factor(share / shares) == 1.0 for share in range(shares)):
                yield f"schedule@{place}={node['name']} has no effect: its factor is 1 throughout these {epochs} epochs"
    node = config["scheduler"]
    if node["name"] != "none" and epochs > 1 and not _moves(node, epochs, steps):
        yield (
            f"scheduler={node['name']} has no effect: the learning rate stays the same throughout these {epochs} epochs"
        )


def _moves(node: Mapping[str, Any], epochs: int, steps: int) -> bool:
    """Whether a learning-rate schedule changes the rate before the last step, assuming that nothing improves."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    built = create("scheduler", **node).build(
        optimizer, total_steps=epochs * steps, epochs=epochs, steps_per_epoch=steps
    )
    if built is None:
        return True
    by_epoch = built.get("interval") == "epoch"
    count = epochs if by_epoch else epochs * steps
    if count > _MOST_STEPS:
        return True
    rates = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns because the optimizer takes no step
        for _ in range(count):
            rates.add(optimizer.param_groups[0]["lr"])
            scheduler = built["scheduler"]
            scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
    return len(rates) > 1 or rates != {1.0}


def _default(kind: str, name: str, key: str) -> Any:
    parameter = inspect.signature(component(kind, name).load()).parameters.get(key)
    return None if parameter is None else parameter.default
