"""The data of a run: read once, and checked together with the model and augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.config.components import in_one_line, is_of_plugin
from regtorch.config.memory_demands import rows_demand
from regtorch.config.resources import check_network_memory
from regtorch.errors import SettingError
from regtorch.models.sizes import check_image
from regtorch.registry import component, create
from regtorch.registry.contracts import CONTRACTS, accepted_names
from regtorch.runs.initial_checkpoint import checkpoint_path
from regtorch.runs.same_data import check_same_data
from regtorch.system.memory import check_memory
from regtorch.system.open_files import check_open_files

#: place of a model's part -> its default component
_USUAL_PARTS = {
    "activation": "relu",
    "initializer": "glorot_uniform",
    "head_initializer": None,
    "dropout": "none",
    "input_dropout": "none",
}


def check_data(config: Mapping[str, Any]) -> None:
    """Read and check the data, and check that model and augmentation fit it."""
    with in_one_line("data", config["data"]["name"], "cannot be read"):
        data = dataset(config)
        data.check()
        splits = data.load()
    check_network_memory(config, splits.shape, len(splits.classes), len(splits.train))
    check_same_data(config, data, checkpoint_path(config))
    check_open_files(data.workers)
    if is_of_plugin("model", config["model"]["name"]):
        _check_model(config, splits.shape, len(splits.classes))
    if config["model"]["name"] == "cnn":
        check_image(splits.shape, config["model"]["channels"], config["model"]["pooling"])
    if config["scheduler"]["name"] == "plateau" and splits.val is None:
        raise SettingError(
            "scheduler=plateau is not allowed without a validation part, because it monitors the validation loss; "
            "give data.validation_fraction"
        )
    if config["augmentation"]["name"] != "none" and len(splits.shape) != 3:
        raise SettingError(
            f"augmentation={config['augmentation']['name']} is not allowed: it needs images, but data={config['data']['name']} "
            f"has rows of shape {splits.shape}; take augmentation=none"
        )


def _check_model(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> None:
    """Build a plugin's model, bind the rules to it and call it with two rows, because only the model knows its limits."""
    name = config["model"]["name"]
    offered = CONTRACTS["model"].offered
    takes = accepted_names(component("model", name).load(), offered)
    for place in offered:
        chosen = (config.get(place) or {}).get("name")
        if place not in takes and chosen != _USUAL_PARTS[place]:
            raise SettingError(
                f"{place}={chosen} is not allowed with model={name}, which has no argument {place}; omit it"
            )
    import torch

    from regtorch.training.build import make_module

    with in_one_line("model", name, "cannot be used"), torch.random.fork_rng(devices=()), torch.no_grad():
        logits = make_module(config, shape, classes).model.eval()(torch.zeros(2, *shape))
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if found != (2, classes):
        raise SettingError(
            f"model={name} cannot be used: it returns {found} for two rows of {classes} classes; it must return logits of "
            f"shape (2, {classes})"
        )


_datasets: dict[str, Any] = {}


def dataset(config: Mapping[str, Any]) -> Any:
    """Return the data set of a configuration; the last one is cached, because checking it reads it."""
    key = repr(config["data"])
    if key not in _datasets:
        _datasets.clear()
        check_memory(rows_demand(config["data"]))
        _datasets[key] = create("data", **config["data"])
    return _datasets[key]
