"""Scores of dense, binary and regression predictions, calibration errors, and what a risk or a coverage costs."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.classification import multiclass_jaccard_index

import regtorch
from regtorch.errors import SettingError
from regtorch.mc import (
    MCPrediction,
    adaptive_calibration_error,
    aurc,
    calibration_error,
    coverage_at_risk,
    evaluate,
    evaluate_regression,
    out_of_distribution_auroc,
    risk_at_coverage,
    selective_accuracy,
)
from regtorch.study.calibration import calibration
from regtorch.training.metrics import EvaluationMetrics


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_logits(
    logits: torch.Tensor, transform: str = "softmax", class_dim: int | None = 1, samples: int = 20
) -> MCPrediction:
    """A prediction whose samples are these logits with noise."""
    predictor = regtorch.MCPredictor(
        regtorch.GaussianNoise(std=0.5), samples=samples, transform=transform, class_dim=class_dim
    )
    return predictor(logits)


# calibration


def errors(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The calibration error in each of the places that compute it."""
    unused, rows = torch.zeros_like(probabilities), len(labels)
    prediction = MCPrediction(probabilities, unused, unused, torch.ones(rows), variation_ratio=torch.zeros(rows))
    streamed = EvaluationMetrics(probabilities.shape[1])
    for part in range(0, rows, 7):
        streamed.update(probabilities[part : part + 7].log(), labels[part : part + 7])
    correct = probabilities.argmax(1) == labels
    return {
        "evaluate": evaluate(prediction, labels)["ece"],
        "while training": streamed.compute()["ece"],
        "of a run": calibration(probabilities.numpy(), labels.numpy()).error,
        "function": calibration_error(probabilities.amax(1), correct),
    }


@pytest.mark.parametrize("place", ["evaluate", "while training", "of a run", "function"])
@pytest.mark.parametrize("sure", [0, 1, 30])
def test_a_confidence_of_one_is_in_the_last_bin(place: str, sure: int) -> None:
    logits = 2 * torch.randn(60, 3, generator=seeded(1))
    logits[:sure] *= 1000  # their softmax is exactly 1
    logits[30] = torch.tensor([3.0, 0.0, 0.0])  # 0.91, in the last bin without them
    probabilities = logits.softmax(1)
    labels = torch.randint(3, (60,), generator=seeded(2))
    confidence, predicted = probabilities.double().max(1)
    wanted = 0.0
    for index in range(15):
        inside = (confidence >= index / 15) & ((confidence < (index + 1) / 15) | (index == 14))
        wanted += float(((predicted == labels)[inside].double() - confidence[inside]).sum().abs()) / 60
    assert errors(probabilities, labels)[place] == pytest.approx(wanted, abs=2e-6)
    above = probabilities.clone()
    above[0, above[0].argmax()] *= 1 + 2e-7 * (sure > 0)  # rounding
    assert errors(above, labels)[place] == pytest.approx(wanted, abs=1e-5)


@given(
    st.lists(st.tuples(st.sampled_from([0.4, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_adaptive_calibration_error_by_hand(rows: list, bins: int, random) -> None:
    means = {c: np.mean([right for other, right in rows if other == c]) for c, _ in rows}
    gaps = sorted((c, c - means[c]) for c, _ in rows)
    wanted = sum(abs(part[:, 1].sum()) for part in np.array_split(np.array(gaps), min(bins, len(gaps))))
    shuffled = random.sample(rows, len(rows))
    confidence, correct = (torch.tensor(v) for v in zip(*shuffled, strict=True))
    assert adaptive_calibration_error(confidence, correct, bins) == pytest.approx(wanted / len(rows), abs=1e-6)


def test_bins_of_equal_count_see_what_those_of_equal_width_average_away() -> None:
    confidence = torch.cat([torch.full((50,), 0.94), torch.full((50,), 0.98)])
    correct = torch.arange(100) >= 8  # 0.84 of the first half, all of the others
    assert calibration_error(confidence, correct) == pytest.approx(0.04, abs=1e-6)
    assert adaptive_calibration_error(confidence, correct, bins=2) == pytest.approx((0.10 + 0.02) / 2, abs=1e-6)


# risk and coverage


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12), st.floats(0.01, 1), st.floats(0, 1)
)
@settings(max_examples=100, deadline=None)
def test_risk_and_coverage_are_points_of_one_curve(rows: list, coverage: float, risk: float) -> None:
    correct, uncertainty = (torch.tensor(v) for v in zip(*rows, strict=True))
    curve = selective_accuracy(correct, uncertainty)
    assert aurc(correct, uncertainty) == pytest.approx(1 - curve.area)
    at = risk_at_coverage(correct, uncertainty, coverage)
    k = next(k for k in range(1, len(rows) + 1) if k / len(rows) >= coverage - 1e-9)
    assert at == pytest.approx(1 - float(curve.accuracy[k - 1]))
    reached = coverage_at_risk(correct, uncertainty, risk)
    fine = [float(c) for c, a in zip(curve.coverage, curve.accuracy, strict=True) if 1 - a <= risk + 1e-9]
    assert reached == max(fine, default=0.0)
    assert coverage_at_risk(correct, uncertainty, min(1.0, at + 1e-6)) >= k / len(rows)


def test_levels_outside_their_ranges() -> None:
    one = torch.ones(2, dtype=torch.bool), torch.ones(2)
    for call, words in {
        lambda: risk_at_coverage(*one, coverage=0.0): "coverage=0.0 is not allowed",
        lambda: risk_at_coverage(*one, coverage=1.5): "coverage=1.5 is not allowed",
        lambda: coverage_at_risk(*one, risk=-1): "risk=-1 is not allowed",
        lambda: calibration_error(one[1], one[0], bins=0): "bins=0 is not allowed",
        lambda: adaptive_calibration_error(one[1], one[0][:1]): "confidence has shape (2,), correct (1,)",
        lambda: calibration_error(one[1] * torch.nan, one[0]): "confidence holds NaN",
        lambda: evaluate(of_logits(torch.zeros(2, 2)), one[0], coverage=2): "coverage=2 is not allowed",
        lambda: evaluate(
            of_logits(torch.zeros(2, 2), None), torch.zeros(2, 2), interval=1
        ): "interval=1 is not allowed",
    }.items():
        with pytest.raises(SettingError) as caught:
            call()
        assert words in str(caught.value)


# dense predictions


@pytest.mark.parametrize(
    ("shape", "class_dim"), [((4, 3, 5, 6), 1), ((4, 5, 3), -1), ((4, 5, 3), 2), ((2, 3, 2, 2, 3), 1)]
)
def test_a_map_counts_as_its_pixels(shape: tuple[int, ...], class_dim: int) -> None:
    dense = of_logits(2 * torch.randn(shape, generator=seeded()), class_dim=class_dim)
    flat = {name: getattr(dense, name).reshape(-1) for name in ("predictive_entropy", "expected_entropy")}
    flat |= {name: getattr(dense, name).reshape(-1) for name in ("mutual_information", "variation_ratio")}
    mean = dense.mean.movedim(class_dim, -1).reshape(-1, 3)
    rows = MCPrediction(mean, mean, mean, torch.ones(len(mean)), **flat)
    labels = torch.randint(3, dense.predictive_entropy.shape, generator=seeded(1))
    found, wanted = evaluate(dense, labels), evaluate(rows, labels.reshape(-1))
    iou = multiclass_jaccard_index(mean.argmax(1), labels.reshape(-1), 3)
    assert found.pop("mean_iou") == pytest.approx(float(iou))
    assert found == pytest.approx(wanted, nan_ok=True)
    assert out_of_distribution_auroc(dense, dense) == pytest.approx(out_of_distribution_auroc(rows, rows))
    without = replace(dense, class_dim=1 if class_dim != 1 else -1)  # as made by hand
    assert evaluate(without, labels, class_dim=class_dim)["nll"] == pytest.approx(wanted["nll"])


def test_labels_that_do_not_count() -> None:
    dense = of_logits(torch.randn(2, 3, 4, 4, generator=seeded()))
    labels = dense.mean.argmax(1)
    labels[0] = 255
    with pytest.raises(SettingError, match=r"that of row 0 at \(0, 0\) is 255; ignore_index=255 leaves such out"):
        evaluate(dense, labels)
    assert evaluate(dense, labels, ignore_index=255)["accuracy"] == 1
    assert evaluate(dense, labels.numpy(), ignore_index=255)["accuracy"] == 1
    with pytest.raises(SettingError, match="every label is 255"):
        evaluate(dense, torch.full_like(labels, 255), ignore_index=255)
    with pytest.raises(SettingError, match=r"labels of shape \(2, 4\) do not fit predictions of shape \(2, 3, 4, 4\)"):
        evaluate(dense, labels[:, 0])
    with pytest.raises(SettingError, match=r"class_dim=4 is not allowed"):
        evaluate(dense, labels, class_dim=4)
    with pytest.raises(SettingError, match=r"class_dim=-1 is not allowed: .*made with another class_dim"):
        evaluate(dense, labels, class_dim=-1)


# binary predictions


@pytest.mark.parametrize("shape", [(40, 1), (40,), (10, 1, 2, 2), (10, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
def test_binary_predictions_have_the_scores_of_two_classes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    class_dim = None if len(shape) in (1, 3) else 1
    out = of_logits(2 * torch.randn(shape, generator=seeded()), "sigmoid", class_dim)
    p = out.mean.reshape(-1).double()
    labels = torch.bernoulli(p, generator=seeded(1))
    found = evaluate(out, labels.reshape(shape).to(dtype))
    chosen = torch.where(labels == 1, p, 1 - p)
    assert found["nll"] == pytest.approx(float(-chosen.log().mean()), rel=1e-5)
    assert found["brier"] == pytest.approx(float(2 * (1 - chosen).square().mean()), rel=1e-4)
    assert found["accuracy"] == pytest.approx(float((chosen > 0.5).double().mean()))
    assert 0.5 < found["misclassification_auroc.predictive_entropy"] <= 1
    squeezed = labels.reshape([size for dim, size in enumerate(shape) if dim != class_dim])
    assert evaluate(out, squeezed.to(dtype)) == pytest.approx(found, nan_ok=True)


def test_binary_labels_that_do_not_fit() -> None:
    out = of_logits(torch.randn(4, 1, generator=seeded()), "sigmoid")
    with pytest.raises(SettingError, match=r"from 0 to 1, and are of type torch.float32"):
        evaluate(out, torch.full((4,), 0.5))
    with pytest.raises(SettingError, match="from 0 to 1, and that of row 0 is 2"):
        evaluate(out, torch.full((4,), 2))
    several = of_logits(torch.randn(4, 3, generator=seeded()), "sigmoid")
    with pytest.raises(SettingError, match=r"3 independent labels a row .*class_dim=None"):
        evaluate(several, torch.zeros(4, 3))
    with pytest.raises(SettingError, match="not one of classes"):
        regtorch.mc.out_of_distribution_auroc(out, of_logits(torch.randn(4, 3), None))


# regressions


def test_regression_scores_by_hand() -> None:
    y = torch.randn(500, 2, generator=seeded(1)).double()
    mean, variance = (
        y + torch.randn(500, 2, generator=seeded(2)).double(),
        torch.rand(500, 2, generator=seeded(3)) + 0.5,
    )
    out = MCPrediction(mean, variance.sqrt(), variance, torch.ones(500))
    found = evaluate(out, y, interval=0.8)
    half = NormalDist().inv_cdf(0.9) * variance.double().sqrt()
    assert found["rmse"] == pytest.approx(float((mean - y).square().mean().sqrt()))
    assert found["nll"] == pytest.approx(
        -float(torch.distributions.Normal(mean, variance.double().sqrt()).log_prob(y).mean())
    )
    assert found["coverage"] == pytest.approx(float(((mean - y).abs() <= half).double().mean()))
    assert found["width"] == pytest.approx(float(2 * half.mean()))
    assert evaluate(out, y.numpy(), interval=0.8) == found == evaluate_regression(out, y, interval=0.8)


def test_honest_gaussians_cover_what_they_promise() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 2))
    x = torch.randn(4000, 3)
    out = regtorch.MCPredictor(model, samples=50, transform="gaussian")(x)
    y = out.mean + out.variance.sqrt() * torch.randn(4000, 1)
    found = evaluate(out, y[:, 0])
    assert found["coverage"] == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / 4000))
    assert found["nll"] == pytest.approx(float(((2 * math.pi * out.variance).log() + 1).mean() / 2), abs=0.06)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.zeros(5, 2), r"labels of shape \(5, 2\) do not fit a regression of shape \(5, 3\)"),
        (torch.zeros(5), "or make the prediction with transform=softmax or sigmoid if they are classes"),
        (torch.full((5, 3), torch.nan), "must be finite numbers"),
        (None, "labels=NoneType is not allowed: it must be a tensor or an array of numbers"),
    ],
)
def test_targets_that_do_not_fit(targets: torch.Tensor | None, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        evaluate(of_logits(torch.zeros(5, 3), None), targets)


def test_certain_regressions_have_no_nan() -> None:
    mean = torch.tensor([[1.0], [2.0]])
    sure = MCPrediction(mean, mean * 0, mean * 0, torch.ones(2))
    assert evaluate(sure, mean)["coverage"] == 1
    assert evaluate(sure, mean)["nll"] < -300
    assert evaluate(sure, mean + 1)["nll"] > 1e300
