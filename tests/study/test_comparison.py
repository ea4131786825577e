"""Verdicts: all kinds, their conditions, and their error rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regtorch.errors import DataError, SettingError
from regtorch.study import comparison as module
from regtorch.study.comparison import (
    ALIKE,
    BASELINE,
    BETTER,
    HIGHER,
    LOWER,
    NOTHING_TO_COMPARE,
    TOO_FEW,
    WORSE,
    compare,
)
from regtorch.study.metrics import METRICS, metrics_named

NOISE = (0.001, -0.002, 0.0005, 0.002, -0.001, 0.0)


def runs(mean: float, metric: str = "test.accuracy", seeds: int = 6, noise: float = 1.0) -> dict:
    return {seed: {metric: mean + noise * NOISE[seed % 6]} for seed in range(seeds)}


def verdicts(results: dict, **chosen) -> dict[str, str]:
    return {row.recipe: row.verdict for row in compare(results, **chosen).rows}


@pytest.mark.parametrize(
    ("metric", "up", "down"),
    [
        ("test.accuracy", BETTER, WORSE),
        ("test.nll", WORSE, BETTER),
        ("test_mc.ece", WORSE, BETTER),
        ("seconds", WORSE, BETTER),
        ("test.loss", HIGHER, LOWER),  # it includes the recipe's own penalty
        ("sparsity", HIGHER, LOWER),
        ("train_eval.accuracy", HIGHER, LOWER),
    ],
)
def test_the_better_direction_depends_on_the_metric(metric: str, up: str, down: str) -> None:
    results = {"a": runs(0.5, metric), "b": runs(0.6, metric, noise=-1), "c": runs(0.4, metric, noise=-1)}
    assert verdicts(results) == {"a": BASELINE, "b": up, "c": down}


def test_a_difference_within_the_noise() -> None:
    results = {"a": runs(0.5), "b": {seed: {"test.accuracy": 0.5002 - e} for seed, e in enumerate(NOISE)}}
    assert verdicts(results) == {"a": BASELINE, "b": ALIKE}


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_identical_runs_do_not_differ(values: list[float]) -> None:
    same = {seed: {"test.accuracy": value} for seed, value in enumerate(values)}
    row = compare({"a": same, "b": dict(same)}).rows[1]
    assert row.difference == 0
    assert row.verdict == (ALIKE if len(values) >= 5 else TOO_FEW)
    if len(values) > 1:
        assert row.difference_low == row.difference_high == 0


@pytest.mark.parametrize("seeds", [1, 2, 4, 5])
def test_fewer_than_five_seeds_have_no_verdict(seeds: int) -> None:
    results = {"a": runs(0.9, seeds=seeds), "b": runs(0.1, seeds=seeds, noise=-1)}
    row = compare(results).rows[1]
    assert row.verdict == (TOO_FEW if seeds < 5 else WORSE)
    assert row.difference == pytest.approx(-0.8, abs=0.01)
    assert (row.std is None) == (row.low is None) == (row.difference_low is None) == (seeds == 1)


def test_pairs_are_the_common_seeds() -> None:
    few = {seed: run for seed, run in runs(0.9, noise=-1).items() if seed < 4}
    rows = compare({"a": runs(0.5), "b": few | {17: {"test.accuracy": 0.1}}, "c": runs(0.8, noise=-1)}).rows
    assert [(row.n, row.pairs, row.verdict) for row in rows] == [(6, None, BASELINE), (5, 4, TOO_FEW), (6, 6, BETTER)]
    assert rows[1].difference == pytest.approx(0.4, abs=0.01)  # the seed without a partner counts for the mean only
    assert rows[2].p_holm == rows[2].p_value  # comparisons without a test do not count in the correction
    rows = compare({"a": runs(0.5), "b": {17: {"test.accuracy": 0.1}}}).rows
    assert (rows[1].pairs, rows[1].difference, rows[1].verdict) == (0, None, TOO_FEW)


def test_a_metric_that_the_first_lacks_is_not_compared() -> None:
    with_mc = {seed: run | {"test_mc.nll": 0.1} for seed, run in runs(0.5).items()}
    rows = compare({"a": runs(0.5), "b": with_mc}).rows
    assert [(row.metric.name, row.recipe, row.verdict) for row in rows] == [
        ("test.accuracy", "a", BASELINE),
        ("test.accuracy", "b", ALIKE),
        ("test_mc.nll", "b", NOTHING_TO_COMPARE),
    ]


def test_one_recipe_has_a_row() -> None:
    (row,) = compare({"a": runs(0.5)}).rows
    values = [0.5 + e for e in NOISE]
    assert (row.n, row.verdict) == (6, BASELINE)
    assert (row.mean, row.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert row.low < row.mean < row.high


def test_the_correction_applies_per_metric() -> None:
    results = {"a": runs(0.5)} | {
        f"b{i}": {s: {"test.accuracy": 0.5 + e + d} for (s, e), d in zip(enumerate(NOISE), slope, strict=True)}
        for i, slope in enumerate([(1, 2, 3, 1, 2, 3), (1, 4, 0, 3, 1, 1), (1, -1, 2, -2, 1, -1)])
    }
    rows = compare(results).rows[1:]
    assert [row.p_holm / row.p_value for row in rows[:2]] == pytest.approx([3, 2])
    assert [row.verdict for row in rows] == [BETTER, ALIKE, ALIKE]
    assert rows[1].p_value < 0.05 < rows[1].p_holm


def test_metrics_are_the_usual_ones_or_those_chosen() -> None:
    results = {"a": {1: {"test.accuracy": 0.5, "epochs": 3.0, "val.nll": 0.3}}}
    assert [metric.name for metric in compare(results).metrics] == ["test.accuracy"]
    chosen = metrics_named(["val.nll", "epochs"])
    assert [metric.name for metric in compare(results, chosen).metrics] == ["val.nll", "epochs"]
    with pytest.raises(
        DataError, match=r"metrics=test_mc\.nll: no run has it; they have: epochs, test\.accuracy, val\.nll"
    ):
        compare(results, [METRICS["test_mc.nll"]])
    with pytest.raises(SettingError, match=r"metrics=test\.acuracy.*did you mean test\.accuracy"):
        metrics_named(["test.acuracy"])


def test_nothing_to_compare_is_an_error() -> None:
    for results in ({}, {"a": {}}):
        with pytest.raises(DataError, match="no completed run"):
            compare(results)


DRAWS: dict[str, Callable] = {
    "normal": lambda rng, n: rng.normal(0.9, 0.01, n),
    "heavy-tailed": lambda rng, n: rng.standard_cauchy(n),
    "counts of a few test rows": lambda rng, n: np.round(rng.normal(0.9, 0.003, n) * 360) / 360,
    "some seeds fail": lambda rng, n: np.where(rng.random(n) < 0.7, 0.8, 0.1) + rng.normal(0, 0.01, n),
}


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_false_positives_are_at_most_one_in_twenty(draw: Callable, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four equal recipes: any difference in the three comparisons is a false positive."""
    # the interval is slow and does not influence the verdict
    monkeypatch.setattr(module, "mean_interval", lambda values: (0.0, 0.0))
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(2000):
        results = {
            name: {seed: {"test.accuracy": value} for seed, value in enumerate(draw(rng, seeds))} for name in "abcd"
        }
        wrong += any(verdict in (BETTER, WORSE) for verdict in verdicts(results).values())
    assert wrong / 2000 <= 0.06 + 2 * (0.06 * 0.94 / 2000) ** 0.5


def test_a_difference_of_two_standard_deviations_is_found_in_ten_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mean_interval", lambda values: (0.0, 0.0))
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(500):
        sides = {name: dict(enumerate(rng.normal(mean, 0.01, 10))) for name, mean in (("a", 0.9), ("b", 0.92))}
        results = {name: {s: {"test.accuracy": v} for s, v in side.items()} for name, side in sides.items()}
        found += verdicts(results)["b"] == BETTER
    assert found / 500 > 0.95
