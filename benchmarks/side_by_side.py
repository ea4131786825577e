"""Time several runs in turns, so that a busy machine slows all of them equally and their ratios stay valid."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter


def milliseconds(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """Median time of each run. The runs take turns, and the first two rounds do not count."""
    times: list[list[float]] = [[] for _ in runs]
    for repeat in range(-2, repeats):
        for run, taken in zip(runs, times, strict=True):
            start = perf_counter()
            run()
            if repeat >= 0:
                taken.append(perf_counter() - start)
    return [1000 * median(taken) for taken in times]
