"""Labels of every integer type are taken; others are refused in one line, wherever labels go in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import regtorch
from regtorch.errors import SettingError
from regtorch.mc import MCPrediction, evaluate

LABELS = torch.tensor([0, 1, 1, 0])


def prediction(rows: int = 4) -> MCPrediction:
    samples = torch.rand(6, rows, 2, generator=torch.Generator().manual_seed(0)).softmax(2)
    unused, used = torch.zeros(rows, 2), torch.full((rows,), 6)
    return MCPrediction(samples.mean(0), unused, unused, used, variation_ratio=torch.zeros(rows), samples=samples)


USES = {
    "evaluate": lambda labels, rows=4: evaluate(prediction(rows), labels)["nll"],
    "samples_needed": lambda labels, rows=4: regtorch.samples_needed(prediction(rows), labels).nll[-1],
}
uses = pytest.mark.parametrize("use", USES.values(), ids=USES)


@uses
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint16, torch.uint8, torch.bool], ids=str)
def test_every_whole_type(use: Callable, dtype: torch.dtype) -> None:
    wanted = torch.nn.functional.nll_loss(prediction().mean.log(), LABELS).item()
    assert use(LABELS.to(dtype)) == pytest.approx(wanted, rel=1e-6)
    assert use(LABELS.to(dtype).numpy()) == pytest.approx(wanted, rel=1e-6)


@uses
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(3, dtype=torch.long), r"shape \(3,\) do not fit 4 predicted rows"),
        (torch.zeros(4, 2, dtype=torch.long), r"shape \(4, 2\) do not fit 4 predicted rows"),
        (LABELS + 1, "integers from 0 to 1"),
        (LABELS - 1, "integers from 0 to 1"),
        (LABELS.float(), "integers from 0 to 1"),
        (np.array([0.0, 1.0, 1.0, 0.0]), "integers from 0 to 1"),
    ],
)
def test_labels_that_do_not_fit(use: Callable, labels: torch.Tensor, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        use(labels)


@uses
def test_no_rows(use: Callable) -> None:
    with pytest.raises(SettingError, match=r"some rows|no rows"):
        use(torch.zeros(0, dtype=torch.long), rows=0)
