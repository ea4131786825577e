"""The models of the Fashion-MNIST notebooks, compared with training in Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regtorch.config.compose import compose
from regtorch.errors import DataError
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.run import run
from tests.testers.agreement import check_agreement

KERAS = json.loads((Path(__file__).parents[1] / "reference/fashion_studies.json").read_text())["studies"]
#: two seeds, or more if their results vary a lot
SEEDS = {"fashion_alpha_dropout": 5, "fashion_max_norm": 3, "fashion_deep_selu": 3}


@pytest.fixture(scope="module", autouse=True)
def _data() -> None:
    try:
        dataset(compose(["data=fashion_mnist"])).check()
    except DataError as error:
        if "damaged" in str(error):  # only missing files are a reason to skip the studies
            raise
        pytest.skip(str(error))


def results(experiment: str, seed: int, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    config = compose([f"experiment={experiment}", f"seed={seed}", "logger.tensorboard=false"])
    validate_run(config)
    return run(config, dataset(config), folder)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", list(KERAS))
def test_final_results_agree_with_keras(experiment: str, tmp_path: Path) -> None:
    ours = [results(experiment, seed, tmp_path / str(seed)) for seed in range(1, SEEDS.get(experiment, 2) + 1)]
    theirs = KERAS[experiment]
    check_agreement([r["test"]["accuracy"] for r in ours], [r["test_accuracy"] for r in theirs])
    if "mc_nll" in theirs[0]:
        check_agreement([r["test_mc"]["accuracy"] for r in ours], [r["mc_accuracy"] for r in theirs])
        check_agreement([r["test_mc"]["nll"] for r in ours], [r["mc_nll"] for r in theirs])
