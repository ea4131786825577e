"""How far a mean over seeds may be off: a bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

from regtorch.study.student_t import critical_value

LEVEL = 0.95
RESAMPLES = 10_000


def mean_interval(values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Expanded percentile bootstrap interval of a mean.

    The means of resamples drawn with replacement, cut not at ``(1 - level) / 2`` on either side but at
    ``Phi(-sqrt(n / (n - 1)) * t)``, `t` being Student's two-sided critical value at `level`. The plain percentile
    interval is too short for few values: with five normal ones it covers the mean 83 times in 100, this one 91 times.

    It stays within the smallest and the largest value, so for two values it is right half of the time and for three
    three quarters of the time, whatever the level: below ten it is rough.

    Args:
        values: one a seed. Their order does not matter; the resamples are the same at every call.
        level: above 0 and below 1.
        resamples: how many.

    Raises:
        ValueError: fewer than two values.

    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015.

    Example:
        >>> low, high = mean_interval([0.97, 0.98, 0.975, 0.985, 0.98])
        >>> 0.97 <= low < 0.978 < high <= 0.985
        True
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval over seeds needs two or more of them, not {n}")
    sample = np.sort(np.asarray(values, dtype=np.float64))
    mean = math.fsum(sample) / n
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * critical_value(level, n - 1))
    means = (sample - mean)[_draws(n, resamples)].mean(1)  # of deviations: equal values give an interval of no length
    low, high = np.quantile(means, [tail, 1 - tail])
    return mean + float(low), mean + float(high)


@cache
def _draws(n: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(0).integers(n, size=(resamples, n))
