"""Statistics over seeds: bootstrap intervals, paired differences with Student's test, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

LEVEL = 0.95

RESAMPLES = 10_000


def mean_interval(values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Expanded percentile bootstrap interval of a mean.

    Resamples are drawn with replacement. The quantiles of their means are not ``(1 - level) / 2`` on either side but
    ``Phi(-sqrt(n / (n - 1)) * t)``, where `t` is Student's two-sided critical value at `level`. The plain percentile
    interval is too short for few values: with five normal values it covers the mean 83 times in 100, this one 91 times.

    The interval is between the smallest and the largest value, so two values cover the mean half of the time and three
    values three quarters of the time, at any level. With fewer than ten values the interval is rough.

    Args:
        values: one value per seed, in any order; the resamples are the same at every call.
        level: confidence level, above 0 and below 1.
        resamples: number of resamples.

    Raises:
        ValueError: there are fewer than two values.

    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015.

    Example:
        >>> low, high = mean_interval([0.97, 0.98, 0.975, 0.985, 0.98])
        >>> 0.97 <= low < 0.978 < high <= 0.985
        True
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval over seeds needs two or more seeds, got {n}")
    sample = np.sort(np.asarray(values, dtype=np.float64))
    mean = math.fsum(sample) / n
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * critical_value(level, n - 1))
    # means of deviations, so that equal values yield an interval of length 0
    means = (sample - mean)[_draws(n, resamples)].mean(1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return mean + float(low), mean + float(high)


@cache
def _draws(n: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(0).integers(n, size=(resamples, n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: rejecting all that are at most `level` has a family-wise error of at most `level`.

    In ascending order of the m values, ``adjusted[i] = max(adjusted[i-1], min(1, (m - i) * p[i]))`` for i from 0.

    Args:
        p_values: one per test, in any order.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def central_probability(t: float, degrees: int) -> float:
    """The probability ``P(|T| <= |t|)``.

    With ``a = atan(|t| / sqrt(degrees))`` and ``c = cos(a)``: for even degrees
    ``sin(a) * (1 + 1/2 c^2 + (1*3)/(2*4) c^4 + ... up to c^(degrees-2))``, for odd ones
    ``2/pi * (a + sin(a) * (c + 2/3 c^3 + (2*4)/(3*5) c^5 + ... up to c^(degrees-2)))``.

    Args:
        t: any number, also infinite.
        degrees: degrees of freedom, >= 1.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.

    Example:
        >>> round(central_probability(2.262157, 9), 4)
        0.95
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


@cache
def critical_value(probability: float, degrees: int) -> float:
    """The t with ``P(|T| <= t) = probability``, by bisection.

    Args:
        probability: above 0 and below 1.
        degrees: degrees of freedom, >= 1.

    Example:
        >>> round(critical_value(0.95, 9), 4)
        2.2622
    """
    low, high = 0.0, 1.0
    while central_probability(high, degrees) < probability:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if central_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return high


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
