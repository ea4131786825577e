"""Student's t distribution against scipy's, and its quantiles against printed tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regtorch.study.statistics import central_probability, critical_value

DEGREES = st.integers(1, 300)


@example(1e-10, 1)
@given(st.floats(0, 1e6), DEGREES)
def test_the_probability_equals_that_of_scipy(t: float, degrees: int) -> None:
    special = pytest.importorskip("scipy.special")
    near = special.betainc(0.5, degrees / 2, t * t / (degrees + t * t))  # loses digits for large t
    far = 1 - 2 * special.stdtr(degrees, -t)  # loses digits for small t
    expected = near if t * t < degrees else far
    assert central_probability(t, degrees) == pytest.approx(expected, abs=1e-12)
    assert central_probability(-t, degrees) == central_probability(t, degrees)


@given(st.floats(0.01, 0.9999), DEGREES)
def test_the_critical_value_equals_that_of_scipy(probability: float, degrees: int) -> None:
    special = pytest.importorskip("scipy.special")
    expected = special.stdtrit(degrees, (1 + probability) / 2)
    assert critical_value(probability, degrees) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (29, 2.045), (100, 1.984)]
)
def test_the_textbook_table(degrees: int, t: float) -> None:
    assert critical_value(0.95, degrees) == pytest.approx(t, abs=5e-4)


def test_the_ends() -> None:
    for degrees in (1, 2, 7, 8):
        assert central_probability(0.0, degrees) == 0.0
        assert central_probability(math.inf, degrees) == pytest.approx(1, abs=1e-15)
