"""The bins of a reliability diagram, against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from regtorch.study.calibration import calibration

RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet([0.4] * 4, 500)
LABELS = np.where(RNG.random(500) < 0.6, PROBABILITIES.argmax(1), RNG.integers(0, 4, 500))


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_error_equals_that_of_torchmetrics(bins: int) -> None:
    expected = multiclass_calibration_error(torch.tensor(PROBABILITIES), torch.tensor(LABELS), 4, n_bins=bins)
    assert calibration(PROBABILITIES, LABELS, bins).error == pytest.approx(float(expected), abs=1e-6)


def test_every_row_is_in_a_bin_and_empty_bins_are_left_out() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0], [0.25, 0.75]])
    bins = calibration(sure, np.array([0, 1, 1]), bins=4)
    assert bins.rows.tolist() == [3]  # 0.75 and 1 are both in the last quarter
    bins = calibration(sure, np.array([0, 1, 1]), bins=10)
    assert bins.rows.tolist() == [1, 2]
    assert bins.accuracy.tolist() == [1.0, 0.5]
    assert bins.confidence.tolist() == [0.75, 1.0]
