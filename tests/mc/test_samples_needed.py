"""How many samples are enough, from one run of the predictor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import SettingError

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


def predicted(**settings: object) -> regtorch.mc.MCPrediction:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    return regtorch.MCPredictor(model, **{"samples": 400, "keep_samples": True, **settings})(X)


def test_so_many_samples_reach_the_tolerance() -> None:
    out = predicted()
    need = regtorch.samples_needed(out, tolerance=0.01)
    assert 16 < need.needed < 400
    assert not need.extrapolated
    error = (out.samples.var(0) / need.needed).sqrt().amax(1)
    assert (error < 0.01).float().mean() == pytest.approx(0.95, abs=0.03)
    assert regtorch.samples_needed(out, tolerance=0.001).extrapolated
    assert regtorch.samples_needed(out, tolerance=0.02).needed == pytest.approx(need.needed / 4, abs=1)


def test_the_first_samples_are_those_of_a_smaller_prediction() -> None:
    labels = torch.arange(40) % 3
    need = regtorch.samples_needed(predicted(), labels)
    assert need.counts == (1, 2, 5, 10, 20, 50, 100, 200, 400)
    small = predicted(samples=20)
    assert need.accuracy[4] == pytest.approx((small.mean.argmax(1) == labels).float().mean().item())
    assert need.nll[4] == pytest.approx(nn.functional.nll_loss(small.mean.log(), labels).item(), rel=1e-5)
    assert need.standard_error[0] == pytest.approx(20 * need.standard_error[-1])


def test_a_picture(tmp_path: Path) -> None:
    regtorch.samples_needed(predicted(), torch.arange(40) % 3).draw(tmp_path / "needed.png")
    assert (tmp_path / "needed.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["needed.png"]


@pytest.mark.parametrize(
    ("settings", "asked", "words"),
    [
        ({"keep_samples": False}, {}, "keep_samples=True"),
        ({"samples": 1}, {}, "samples >= 2"),
        ({"tolerance": 0.05}, {}, "tolerance=None"),
        ({}, {"tolerance": 0}, "tolerance=0 is not allowed"),
        ({}, {"share": 1}, "share=1 is not allowed"),
        ({}, {"labels": torch.zeros(3)}, "do not fit"),
    ],
)
def test_bad_input(settings: dict, asked: dict, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        regtorch.samples_needed(predicted(**settings), **asked)
