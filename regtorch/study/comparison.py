"""Comparison of recipes over seeds: mean, interval, difference to the first recipe, and verdict for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from regtorch.errors import DataError
from regtorch.study.metrics import METRICS, Metric
from regtorch.study.statistics import LEVEL, RESAMPLES, holm, mean_interval, paired_difference, standard_deviation

#: probability that a metric's verdicts report a difference where there is none
FALSE_POSITIVES = 0.05
#: Fewer pairs agree by chance too often: accuracies are counts of a few test rows, and n such differences all have the
#: same sign by chance with a probability of up to 2 / 2^n.
FEWEST_PAIRS = 5

BASELINE = "the first"
BETTER = "better"
WORSE = "worse"
HIGHER = "higher"
LOWER = "lower"
ALIKE = "not distinguishable from seed noise"
TOO_FEW = "too few seeds"
NOTHING_TO_COMPARE = "the first has none"

#: explanations of the numbers and verdicts, one line each
RULE = (
    f"Mean: its interval is a {LEVEL:.0%} bootstrap over seeds (expanded percentile, {RESAMPLES:,} resamples, the same at every "
    "call), rough below ten seeds.",
    f"Difference: to the first, seed by seed over the seeds that both have, with Student's {LEVEL:.0%} interval.",
    "Verdict: paired t-test, two-sided, p corrected by Holm for the number of comparisons in a metric; better or worse (higher "
    f"or lower, if neither is better) if p <= {FALSE_POSITIVES}, which happens in one metric of twenty where "
    f"nothing differs; with fewer than {FEWEST_PAIRS} common seeds: {TOO_FEW}, for any difference.",
)


@dataclass(frozen=True)
class Row:
    """The result of one recipe in one metric; values that need more seeds are None."""

    metric: Metric
    recipe: str
    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    pairs: int | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    verdict: str = BASELINE


@dataclass(frozen=True)
class Comparison:
    """A comparison of recipes, in the given order; the first recipe is the baseline of the others."""

    recipes: tuple[str, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    values: Mapping[str, Mapping[str, Mapping[int, float]]]  # metric -> recipe -> seed -> value


def compare(
    results: Mapping[str, Mapping[int, Mapping[str, float]]], metrics: Sequence[Metric] | None = None
) -> Comparison:
    """Compare recipes with the first of them, metric by metric.

    The verdict is that of Student's paired t-test over the common seeds, with the p-value corrected by Holm over the
    comparisons of one metric: ``better`` or ``worse`` at p <= 0.05, ``not distinguishable from seed noise`` above. With fewer
    than five common seeds it is ``too few seeds``, as coarse metrics agree by chance too often. The test assumes normal
    differences; for coarse, heavy-tailed or bimodal ones it errs in at most 6 of 100 cases with five seeds or more
    (simulated). Each metric is tested separately, and among ten metrics a chance finding is likely, so choose the
    metric that counts beforehand.

    Args:
        results: recipe -> seed -> metric's name -> value.
        metrics: names of metrics; None: the usual ones that any run has.

    Raises:
        DataError: there is no run, or no run has a requested metric.

    Example:
        >>> noise = (0.001, -0.002, 0.0, 0.002, -0.001)
        >>> a = {seed: {"test.accuracy": 0.97 + e} for seed, e in enumerate(noise)}
        >>> b = {seed: {"test.accuracy": 0.93 - e} for seed, e in enumerate(noise)}
        >>> [(row.recipe, row.verdict) for row in compare({"a": a, "b": b}).rows]
        [('a', 'the first'), ('b', 'worse')]
    """
    results = {recipe: runs for recipe, runs in results.items() if runs}
    if not results:
        raise DataError("there is no completed run to compare")
    usual = [metric for metric in METRICS.values() if metric.usual]
    values: dict[str, dict[str, dict[int, float]]] = {}
    rows: list[Row] = []
    for metric in usual if metrics is None else metrics:
        found = {
            recipe: {seed: run[metric.name] for seed, run in sorted(runs.items()) if metric.name in run}
            for recipe, runs in results.items()
        }
        if any(found.values()):
            values[metric.name] = {recipe: by_seed for recipe, by_seed in found.items() if by_seed}
            rows += _rows(metric, next(iter(results)), values[metric.name])
        elif metrics is not None:
            there = sorted({name for runs in results.values() for run in runs.values() for name in run})
            raise DataError(f"metrics={metric.name}: no run has it; they have: {', '.join(there)}")
    return Comparison(tuple(results), tuple(METRICS[name] for name in values), tuple(rows), values)


def _rows(metric: Metric, first: str, values: Mapping[str, Mapping[int, float]]) -> list[Row]:
    rows = []
    for recipe, by_seed in values.items():
        sample = list(by_seed.values())
        n = len(sample)
        low, high = mean_interval(sample) if n > 1 else (None, None)
        std = standard_deviation(sample) if n > 1 else None
        row = Row(metric, recipe, n, math.fsum(sample) / n, std, low, high)
        if recipe != first:
            found = paired_difference(by_seed, values.get(first, {}), LEVEL)
            verdict = TOO_FEW if first in values else NOTHING_TO_COMPARE
            row = replace(row, pairs=found.pairs, p_value=found.p_value, verdict=verdict)
            row = replace(row, difference=found.mean, difference_low=found.low, difference_high=found.high)
        rows.append(row)
    tested = [index for index, row in enumerate(rows) if row.pairs is not None and row.pairs >= FEWEST_PAIRS]
    adjusted = holm([rows[index].p_value or 0.0 for index in tested])
    for index, p_holm in zip(tested, adjusted, strict=True):
        rows[index] = replace(
            rows[index], p_holm=p_holm, verdict=_verdict(metric, rows[index].difference or 0.0, p_holm)
        )
    return rows


def _verdict(metric: Metric, difference: float, p_holm: float) -> str:
    if p_holm > FALSE_POSITIVES:
        return ALIKE
    direction = HIGHER if difference > 0 else LOWER
    if metric.better is None:
        return direction
    return BETTER if direction == metric.better else WORSE
