"""How many samples are enough, from one run of the predictor."""

from __future__ import annotations

import math

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


def of_spread(*spreads: float) -> regtorch.mc.MCPrediction:
    """One row a spread, its only entry's samples half the time this much above 0 and half the time below."""
    samples = torch.tensor(spreads)[None, :, None] * torch.tensor([1.0, -1.0]).repeat(50)[:, None, None]
    deviations = samples.std(0, correction=0)
    return regtorch.mc.MCPrediction(
        samples.mean(0), deviations, deviations**2, torch.full((len(spreads),), 100), samples=samples
    )


@pytest.mark.parametrize(
    ("share", "spread"), [(1, 1.0), (0.95, 1.0), (0.76, 1.0), (0.75, 0.5), (0.5, 0.2), (0.25, 0.1), (0.001, 0.1)]
)
def test_the_wanted_share_of_the_rows_reaches_the_tolerance_and_no_smaller_number_does(
    share: float, spread: float
) -> None:
    need = regtorch.samples_needed(of_spread(0.1, 1.0, 0.2, 0.5), tolerance=0.01, share=share)
    assert need.needed == math.ceil(spread**2 * 100 / 99 / 0.01**2)
    assert need.largest_standard_error[0] == pytest.approx(spread * math.sqrt(100 / 99))
    assert need.extrapolated == (need.needed > 100)


def test_a_share_that_is_a_whole_number_of_rows_despite_rounding() -> None:
    rows = torch.arange(1, 101) / 100
    seventh = regtorch.samples_needed(of_spread(*rows.tolist()), tolerance=0.01, share=0.07)
    assert seventh.largest_standard_error[0] == pytest.approx(0.07 * math.sqrt(100 / 99))


def test_a_model_that_does_not_vary_needs_the_two_that_show_it() -> None:
    need = regtorch.samples_needed(of_spread(0.0, 0.0))
    assert need.needed == 2
    assert not need.extrapolated


def test_samples_that_are_no_numbers_have_no_spread() -> None:
    out = of_spread(1.0, 2.0)
    out.samples[3, 0] = torch.nan
    with pytest.raises(SettingError, match="hold NaN"):
        regtorch.samples_needed(out)


@pytest.mark.parametrize(
    ("settings", "asked", "words"),
    [
        ({"keep_samples": False}, {}, "keep_samples=True"),
        ({"samples": 1}, {}, "samples >= 2"),
        ({"tolerance": 0.05}, {}, "tolerance=None"),
        ({}, {"tolerance": 0}, "tolerance=0 is not allowed"),
        ({}, {"share": 0}, "share=0 is not allowed"),
        ({}, {"share": 1.5}, "share=1.5 is not allowed"),
        ({"transform": None}, {"labels": torch.arange(40) % 3}, "transform=softmax"),
        ({}, {"labels": torch.zeros(3)}, "do not fit"),
    ],
)
def test_bad_input(settings: dict, asked: dict, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        regtorch.samples_needed(predicted(**settings), **asked)
