"""Measures of predictions and of their uncertainties, against other computations."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import regtorch
from regtorch.errors import SettingError
from regtorch.mc import MCPrediction, evaluate, out_of_distribution_auroc, selective_accuracy
from regtorch.mc.distributions import UNCERTAINTIES


def prediction(rows: int = 300, seed: int = 0, spread: float = 2.0) -> MCPrediction:
    draws = torch.randn(7, rows, 3, generator=torch.Generator().manual_seed(seed))
    center = spread * torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed + 1))
    samples = (center + draws).softmax(2)
    mean = samples.mean(0)
    entropy = -(mean * mean.log()).sum(1)
    expected = -(samples * samples.log()).sum(2).mean(0)
    votes = torch.stack([(samples.argmax(2) == c).float().mean(0) for c in range(3)]).amax(0)
    std = samples.std(0, correction=0)
    used = torch.full((rows,), 7)
    return MCPrediction(mean, std, std**2, used, entropy, expected, entropy - expected, 1 - votes, samples)


def labels_of(out: MCPrediction, seed: int = 3) -> torch.Tensor:
    return torch.multinomial(out.mean, 1, generator=torch.Generator().manual_seed(seed))[:, 0]


def test_measures_are_scikit_learns() -> None:
    out = prediction()
    labels = labels_of(out)
    values = evaluate(out, labels)
    right = out.mean.argmax(1) == labels
    assert values["accuracy"] == pytest.approx(right.float().mean().item())
    assert values["nll"] == pytest.approx(log_loss(labels, out.mean.double()), rel=1e-5)
    one_hot = torch.nn.functional.one_hot(labels, 3)
    brier = sum(brier_score_loss(one_hot[:, c], out.mean[:, c]) for c in range(3))
    assert values["brier"] == pytest.approx(brier, rel=1e-5)
    named = {"confidence": 1 - out.mean.amax(1), **{name: getattr(out, name) for name in UNCERTAINTIES[1:]}}
    for name, uncertainty in named.items():
        assert values[f"misclassification_auroc.{name}"] == pytest.approx(roc_auc_score(~right, uncertainty), abs=1e-6)
        assert 0.5 < values[f"selective_area.{name}"] <= 1
    assert len(values) == 5 + 5 * len(UNCERTAINTIES) + 3


def test_calibration_error_by_hand() -> None:
    out = prediction()
    labels = labels_of(out)
    confidence, right = out.mean.amax(1), (out.mean.argmax(1) == labels).float()
    error = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            error += inside.float().mean().item() * abs(right[inside].mean() - confidence[inside].mean()).item()
    assert evaluate(out, labels)["ece"] == pytest.approx(error, abs=1e-5)


def test_other_data_are_told_by_their_uncertainty() -> None:
    inside, outside = prediction(spread=6.0), prediction(rows=200, seed=9, spread=0.3)
    found = out_of_distribution_auroc(inside, outside)
    wrong = [0] * 300 + [1] * 200
    for name in UNCERTAINTIES[1:]:
        both = torch.cat([getattr(inside, name), getattr(outside, name)])
        assert found[name] == pytest.approx(roc_auc_score(wrong, both), abs=1e-6)
    assert found["predictive_entropy"] > 0.9


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=5), st.integers(0, 119))
@settings(max_examples=60, deadline=None)
def test_selective_accuracy_is_the_mean_over_orders_of_ties(rows: list[tuple[bool, int]], order: int) -> None:
    correct, uncertainty = (torch.tensor(v) for v in zip(*rows, strict=True))
    curve = selective_accuracy(correct, uncertainty.float())
    orders = [sorted(shuffled, key=lambda row: row[1]) for shuffled in permutations(rows)]
    right = torch.tensor([[c for c, _ in ordered] for ordered in orders], dtype=torch.float64)
    wanted = (right.cumsum(1) / torch.arange(1, len(rows) + 1)).mean(0)
    torch.testing.assert_close(curve.accuracy, wanted)
    again = torch.tensor(list(permutations(range(len(rows))))[order % len(orders)])
    torch.testing.assert_close(selective_accuracy(correct[again], uncertainty[again].float()).accuracy, wanted)


def test_the_best_order_has_the_largest_area() -> None:
    correct = torch.tensor([True, False, True, False])
    best = selective_accuracy(correct, (~correct).float() + torch.arange(4) / 100)
    worst = selective_accuracy(correct, correct.float() + torch.arange(4) / 100)
    assert best.area == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert worst.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert best.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_no_order_beats_that_of_the_errors_themselves(right: list[bool], random: Random) -> None:
    correct, order = torch.tensor(right), [*range(len(right))]
    random.shuffle(order)
    area = selective_accuracy(correct, torch.tensor(order).float()).area
    best, worst = (selective_accuracy(correct, u.float()).area for u in (~correct, correct))
    assert 0 <= worst <= area + 1e-12
    assert area <= best + 1e-12 <= 1 + 2e-12
    constant = selective_accuracy(correct, torch.zeros(len(right)))
    assert constant.area == pytest.approx(correct.double().mean().item())  # who knows nothing gets the accuracy


def test_uncertainties_too_close_for_a_sigmoid_are_told_apart() -> None:
    out = prediction()
    labels = labels_of(out)
    tiny = replace(out, mutual_information=out.mutual_information * 1e-9)
    values = [evaluate(p, labels)["misclassification_auroc.mutual_information"] for p in (out, tiny)]
    assert values[0] == values[1] != 0.5
    far = replace(out, mutual_information=1000 + out.mutual_information.double())
    assert evaluate(far, labels)["misclassification_auroc.mutual_information"] == values[0]


def test_a_mean_that_rounding_put_above_one_is_no_logit() -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    above = torch.tensor([[1.0 + 2e-7, 0.0], [1.0, 0.0]])
    assert above.max() > 1
    values = [
        evaluate(MCPrediction(m, m, m, torch.ones(2), variation_ratio=torch.zeros(2)), torch.tensor([0, 0]))
        for m in (sure, above)
    ]
    assert values[0]["ece"] == values[1]["ece"] == 0


def test_what_is_no_number_has_no_order() -> None:
    out = prediction(20)
    broken = replace(
        out, mutual_information=out.mutual_information.clone().index_fill_(0, torch.tensor([7]), torch.nan)
    )
    with pytest.raises(SettingError, match="mutual_information of row 7"):
        evaluate(broken, labels_of(out))
    with pytest.raises(SettingError, match="mutual_information of row 7"):
        out_of_distribution_auroc(out, broken)
    with pytest.raises(SettingError, match="NaN"):
        selective_accuracy(torch.tensor([True, False]), torch.tensor([0.1, torch.nan]))


def test_all_right_leaves_nothing_to_tell() -> None:
    out = prediction(20)
    assert math.isnan(evaluate(out, out.mean.argmax(1))["misclassification_auroc.confidence"])


def test_other_bad_input() -> None:
    regression = regtorch.MCPredictor(torch.nn.Sequential(torch.nn.Dropout(0.5)), transform=None)(torch.ones(3, 2))
    with pytest.raises(SettingError, match="transform=softmax"):
        evaluate(regression, torch.zeros(3, dtype=torch.long))
    with pytest.raises(SettingError, match="no rows"):
        out_of_distribution_auroc(prediction(3), MCPrediction(*[torch.zeros(0, 3)] * 3, torch.zeros(0)))
    with pytest.raises(SettingError, match="a row at least"):
        selective_accuracy(torch.zeros(0, dtype=torch.bool), torch.zeros(0))


def test_what_is_no_prediction_or_no_labels_is_one_line() -> None:
    out = prediction(rows=5)
    y = torch.tensor([0, 1, 2, 0, 1])
    calls = [
        lambda: evaluate(torch.ones(5, 3), y),
        lambda: out_of_distribution_auroc(torch.ones(5, 3), out),
        lambda: out_of_distribution_auroc(out, torch.ones(5, 3)),
        lambda: regtorch.samples_needed(torch.ones(5, 3)),
    ]
    for call in calls:
        with pytest.raises(SettingError, match="is a Tensor and must be an MCPrediction"):
            call()
    with pytest.raises(SettingError, match="labels=NoneType is not allowed"):
        evaluate(out, None)
    with pytest.raises(SettingError, match="labels=abc is not allowed"):
        evaluate(out, "abc")
    with pytest.raises(SettingError, match="from 0 to 2, and that of row 3 is 7"):
        evaluate(out, torch.tensor([0, 1, 2, 7, -1]))
