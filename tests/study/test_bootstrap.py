"""The bootstrap interval of a mean: properties for all values, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regtorch.study.statistics import _draws, mean_interval

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=12)
QUICK = {"resamples": 500}


@settings(max_examples=60)
@given(VALUES, st.floats(-100, 100), st.floats(0.01, 100))
def test_the_interval_shifts_and_scales_with_the_values(values: list[float], shift: float, scale: float) -> None:
    low, high = mean_interval(values, **QUICK)
    moved = mean_interval([scale * value + shift for value in values], **QUICK)
    assert moved == pytest.approx(
        (scale * low + shift, scale * high + shift), abs=1e-9 * (1 + 100 * scale + abs(shift))
    )


@settings(max_examples=60)
@given(VALUES, st.randoms())
def test_the_interval_contains_the_mean_and_is_inside_the_range_in_any_order(values: list[float], random) -> None:
    low, high = mean_interval(values, **QUICK)
    assert min(values) - 1e-12 * 100 <= low <= np.mean(values) + 1e-12 * 100
    assert np.mean(values) - 1e-12 * 100 <= high <= max(values) + 1e-12 * 100
    shuffled = list(values)
    random.shuffle(shuffled)
    assert mean_interval(shuffled, **QUICK) == (low, high)


def test_equal_values_yield_an_interval_of_length_0() -> None:
    assert mean_interval([0.1] * 7) == (pytest.approx(0.1, abs=1e-15),) * 2
    low, high = mean_interval([0.1] * 7)
    assert low == high


def test_another_process_draws_the_same_resamples() -> None:
    assert (_draws.__wrapped__(5, 100) == _draws.__wrapped__(5, 100)).all()


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two or more"):
        mean_interval([0.5])


def test_two_and_three_values_yield_their_range() -> None:
    assert mean_interval([3.0, 1.0]) == (1.0, 3.0)
    assert mean_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_with_many_values_the_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(5, 2, 200)
    half = 1.97196 * values.std(ddof=1) / 200**0.5
    assert mean_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


@pytest.mark.parametrize(("n", "covered"), [(5, 0.91), (10, 0.94), (20, 0.945)])
def test_coverage_of_the_interval(n: int, covered: float) -> None:
    rng = np.random.default_rng(n)
    intervals = [mean_interval(rng.normal(size=n), **QUICK) for _ in range(3000)]
    share = np.mean([low <= 0 <= high for low, high in intervals])
    # within 3.5 standard errors; the plain percentile interval covers 0.83 at n = 5
    assert share == pytest.approx(covered, abs=0.018)
