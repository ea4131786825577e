"""Every option of every group, and combinations of them at random, train to the end."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {
    "regularizer": "regularizer",
    "regularizer@bias_regularizer": "regularizer",
    "regularizer@activity_regularizer": "regularizer",
    "dropout": "dropout",
    "dropout@input_dropout": "dropout",
    "constraint": "constraint",
    "constraint@bias_constraint": "constraint",
    "activation": "activation",
    "initializer": "initializer",
    "initializer@head_initializer": "initializer",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "model": "model",
    "augmentation": "augmentation",
    "callbacks": "callbacks",
    "trainer": "trainer",
    "logger": "logger",
    "mc": "mc",
}
WALKED = ["regularizer", "regularizer@bias_regularizer", "regularizer@activity_regularizer", "dropout", "constraint"]
WALKED += ["activation", "initializer", "optimizer", "model"]
QUICK = ["trainer.max_epochs=1", "data.batch_size=256", "mc.samples=2", "logger.tensorboard=false"]


def options(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / GROUPS[group]).glob("*.yaml"))
    # each is refused here: there is no GPU, no torchrun, or no weights on the input
    impossible = {("trainer", name) for name in ("gpu", "ddp", "fsdp", "multi_node")}
    impossible.add(("dropout@input_dropout", "drop_connect"))
    return [option for option in found if (group, option) not in impossible]


def combination(seed: int) -> list[str]:
    choose = random.Random(seed).choice
    return [f"{group}={choose(options(group))}" for group in WALKED]


def short(group: str, option: str) -> bool:
    """Whether the default tests include it: every option in one place of its group, and in other places one of a kind."""
    kinds = ("l1", "spectral", "standard", "alpha", "max_norm", "he_normal")
    return "@" not in group or option in kinds


#: options that start processes have their own tests
SINGLE = [
    pytest.param(f"{group}={option}", marks=() if short(group, option) else pytest.mark.slow)
    for group in GROUPS
    for option in options(group)
    if option != "ddp_cpu"
]
ORDERS = [
    f"model={model} model.batch_norm={order}"
    for model in ("mlp", "cnn")
    for order in ("before", "after", "after_dropout")
]


def train(overrides: list[str], folder: Path) -> dict:
    from regtorch.training.run import run

    quick = [o for o in QUICK if not (o.startswith("mc.") and "mc=none" in overrides)]
    config = compose([*quick, *overrides])
    validate_run(config)
    run(config, dataset(config), folder)
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("override", SINGLE)
def test_every_single_option(override: str, tmp_path: Path) -> None:
    results = train([override], tmp_path)
    assert results["status"] == "completed"
    assert results["epochs"] == 1
    drops = override.startswith("dropout") and not override.endswith("=none")
    assert (results["test_mc"] is not None) == drops


@pytest.mark.parametrize("overrides", ORDERS)
def test_every_order_of_batch_normalization(overrides: str, tmp_path: Path) -> None:
    drops = [
        "dropout=standard",
        "dropout.drop_prob=0.1",
        "dropout@input_dropout=standard",
        "input_dropout.drop_prob=0.1",
    ]
    settings = ["model.input_batch_norm=true", "data.batch_size=32", "trainer.max_epochs=2", *drops]
    results = train([*overrides.split(), *settings], tmp_path)
    assert results["status"] == "completed"
    assert results["train"]["accuracy"] > 0.3


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
def test_random_combinations(seed: int, tmp_path: Path) -> None:
    assert train(combination(seed), tmp_path)["status"] == "completed"
