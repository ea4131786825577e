"""Mixed precision trains to the same accuracy as float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtorch.cli.composition import compose
from regtorch.cli.validation import dataset, validate
from regtorch.training.run import run
from tests.testers.agreement import check_agreement

SETTINGS = ["trainer=cpu", "dropout=standard", "dropout.drop_prob=0.2", "regularizer=l1_l2", "constraint=max_norm"]


def accuracies(precision: str, folder: Path) -> list[float]:
    """Test accuracies of five seeds."""
    found = []
    for seed in range(1, 6):
        here = folder / f"{precision}_{seed}"
        here.mkdir()
        further = [f"trainer.precision={precision}", f"seed={seed}", "logger.tensorboard=false", "mc=none"]
        config = compose([*SETTINGS, *further])
        validate(config)
        found.append(run(config, dataset(config), here)["test"]["accuracy"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_five_seeds_reach_the_accuracy_of_float32(precision: str, tmp_path: Path) -> None:
    mixed, full = accuracies(precision, tmp_path), accuracies("32-true", tmp_path)
    print(f"{precision}: {mixed}, 32-true: {full}")
    check_agreement(mixed, full)
