"""Mixed precision trains to the same accuracy as float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.run import run
from tests.testers.agreement import check_agreement

SETTINGS = ["trainer=cpu", "dropout=standard", "dropout.drop_prob=0.2", "regularizer=l1_l2", "constraint=max_norm"]


def measured(precision: str, folder: Path) -> list[dict[str, float]]:
    """The test metrics of five seeds."""
    found = []
    for seed in range(1, 6):
        here = folder / f"{precision}_{seed}"
        here.mkdir()
        further = [f"trainer.precision={precision}", f"seed={seed}", "logger.tensorboard=false", "mc=none"]
        config = compose([*SETTINGS, *further])
        validate_run(config)
        found.append(run(config, dataset(config), here)["test"])
    return found


@pytest.mark.slow
def test_five_seeds_reach_the_accuracy_of_float32(tmp_path: Path) -> None:
    full = measured("32-true", tmp_path)
    for precision in ("bf16-mixed", "16-mixed"):
        mixed = measured(precision, tmp_path)
        for one, other in zip(mixed, full, strict=True):
            assert one["nll"] != other["nll"]  # the precision differs
        for name in ("accuracy", "nll"):
            print(precision, name, *(f"{values[name]:.4f}" for values in mixed))
            print("32-true", name, *(f"{values[name]:.4f}" for values in full))
            check_agreement([values[name] for values in mixed], [values[name] for values in full])
