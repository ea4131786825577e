"""A bootstrap interval of a mean over seeds."""

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
