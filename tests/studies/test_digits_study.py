"""The two models of the digits notebook, compared with training in Keras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.run import run
from tests.testers.agreement import check_agreement

#: test accuracies of five seeds each, trained by Keras 3.15.1
KERAS = json.loads((Path(__file__).parents[1] / "reference/digits_studies.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("experiment", list(KERAS))
def test_results_of_five_seeds_agree_with_keras(experiment: str, tmp_path: Path) -> None:
    accuracies = []
    for seed in range(1, 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        config = compose([f"experiment={experiment}", f"seed={seed}", "logger.tensorboard=false", "mc=none"])
        validate_run(config)
        accuracies.append(run(config, dataset(config), folder)["test"]["accuracy"])
    check_agreement(accuracies, KERAS[experiment])
