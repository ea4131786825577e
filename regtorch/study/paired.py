"""Paired differences over seeds: mean, interval and Student's paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from regtorch.study.student_t import central_probability, critical_value


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference over the common seeds; values that need more pairs are None."""

    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95
) -> PairedDifference:
    """Compare two recipes by their paired differences over the common seeds.

    With the differences ``d = values[seed] - baseline[seed]``, their number n, mean m and standard deviation s
    (``ddof=1``), the interval is ``m -+ t * s / sqrt(n)``, where `t` is Student's critical value for n - 1 degrees of
    freedom, and the two-sided p-value is that of ``m / (s / sqrt(n))``. If all differences are 0, the p-value is 1; if they
    are equal and not 0, it is 0.

    Args:
        values: seed -> value.
        baseline: seed -> value of the baseline.
        level: confidence level of the interval, above 0 and below 1.

    Returns:
        With one pair only the mean is set, without pairs not even that.

    Source: Student, "The probable error of a mean", Biometrika 6(1), 1908.

    Example:
        >>> found = paired_difference({1: 0.98, 2: 0.97, 3: 0.99}, {1: 0.96, 2: 0.96, 3: 0.96, 4: 0.95})
        >>> found.pairs, round(found.mean, 4), round(found.low, 4), round(found.high, 4), round(found.p_value, 4)
        (3, 0.02, -0.0048, 0.0448, 0.0742)
    """
    differences = [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]
    n = len(differences)
    if n == 0:
        return PairedDifference(0)
    mean = math.fsum(differences) / n
    if n == 1:
        return PairedDifference(1, mean)
    error = standard_deviation(differences) / math.sqrt(n)
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    half = critical_value(level, n - 1) * error
    p_value = max(0.0, 1 - central_probability(t, n - 1))
    return PairedDifference(n, mean, mean - half, mean + half, p_value)


def standard_deviation(values: list[float]) -> float:
    """The standard deviation with ``ddof=1``; exactly 0 for equal values.

    Example:
        >>> standard_deviation([0.1, 0.1, 0.1]), standard_deviation([1.0, 3.0])
        (0.0, 1.4142135623730951)
    """
    first = values[0]
    shifted = [value - first for value in values]  # equal values leave no rounding error
    mean = math.fsum(shifted) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in shifted) / (len(values) - 1))
