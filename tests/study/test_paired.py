"""Paired differences: Student's test against scipy's and by hand, and properties for all values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regtorch.study.statistics import PairedDifference, paired_difference, standard_deviation

PAIRS = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=12)


def by_seed(pairs: list[tuple[float, float]], side: int) -> dict[int, float]:
    return {seed: pair[side] for seed, pair in enumerate(pairs)}


def test_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, s = 1, t = 2 sqrt(3); with two degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
    found = paired_difference({1: 2.0, 2: 4.0, 3: 6.0}, {1: 1.0, 2: 2.0, 3: 3.0})
    t = 2 * math.sqrt(3)
    half = 4.302652729749464 / math.sqrt(3)
    assert (found.pairs, found.mean) == (3, 2.0)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-9)


@given(PAIRS)
def test_the_p_value_equals_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    differences = np.subtract(*zip(*pairs, strict=True))
    assume(differences.std() > 1e-6 * abs(differences).max())
    found = paired_difference(by_seed(pairs, 0), by_seed(pairs, 1))
    theirs = stats.ttest_rel(*zip(*pairs, strict=True))
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-7)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)


@given(PAIRS, st.floats(-100, 100), st.floats(0.01, 100))
def test_the_difference_is_invariant_to_shifts_and_scales_with_the_values(
    pairs: list[tuple[float, float]], shift: float, scale: float
) -> None:
    differences = np.subtract(*zip(*pairs, strict=True))
    assume(differences.std() > 1e-6)
    found = paired_difference(by_seed(pairs, 0), by_seed(pairs, 1))
    moved = [(scale * a + shift, scale * b + shift) for a, b in pairs]
    other = paired_difference(by_seed(moved, 0), by_seed(moved, 1))
    assert other.p_value == pytest.approx(found.p_value, abs=1e-5)
    expected = [scale * value for value in (found.mean, found.low, found.high)]
    assert [other.mean, other.low, other.high] == pytest.approx(expected, rel=1e-5, abs=1e-9 * (1 + abs(shift) + scale))


@given(PAIRS, st.randoms())
def test_the_interval_contains_the_mean_and_is_antisymmetric(pairs: list[tuple[float, float]], random) -> None:
    found = paired_difference(by_seed(pairs, 0), by_seed(pairs, 1))
    assert found.low <= found.mean <= found.high
    assert 0 <= found.p_value <= 1
    reversed_sides = paired_difference(by_seed(pairs, 1), by_seed(pairs, 0))
    assert (reversed_sides.mean, reversed_sides.low, reversed_sides.high, reversed_sides.p_value) == pytest.approx(
        (-found.mean, -found.high, -found.low, found.p_value), abs=1e-12
    )
    items = list(by_seed(pairs, 0).items())
    random.shuffle(items)
    assert paired_difference(dict(items), by_seed(pairs, 1)) == found


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12))
def test_identical_runs_have_no_difference(values: list[float]) -> None:
    same = dict(enumerate(values))
    assert paired_difference(same, dict(same)) == PairedDifference(len(values), 0.0, 0.0, 0.0, 1.0)


def test_a_difference_without_variance_is_certain() -> None:
    found = paired_difference({1: 0.5, 2: 0.75, 3: 1.0}, {1: 0.25, 2: 0.5, 3: 0.75})
    assert found == PairedDifference(3, 0.25, 0.25, 0.25, 0.0)


def test_only_common_seeds_count() -> None:
    found = paired_difference({1: 1.0, 2: 2.0, 5: 9.0}, {2: 1.0, 1: 0.5, 4: -7.0})
    assert (found.pairs, found.mean) == (2, 0.75)
    assert paired_difference({1: 1.0}, {1: 0.5, 2: 3.0}) == PairedDifference(1, 0.5)
    assert paired_difference({1: 1.0}, {2: 0.5}) == PairedDifference(0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12))
def test_the_standard_deviation_equals_that_of_numpy(values: list[float]) -> None:
    assert standard_deviation(values) == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)


@given(st.floats(-1e3, 1e3), st.integers(2, 12))
def test_the_standard_deviation_of_equal_values_is_exactly_zero(value: float, n: int) -> None:
    assert standard_deviation([value] * n) == 0


def test_coverage_of_the_paired_interval() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(4000):
        baseline = rng.normal(size=5)
        found = paired_difference(dict(enumerate(baseline + 0.5 * rng.normal(size=5) + 1)), dict(enumerate(baseline)))
        covered += found.low <= 1 <= found.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.011)
