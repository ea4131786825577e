"""Agreement of two sets of runs over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, variance


def check_agreement(ours: Sequence[float], theirs: Sequence[float], within: float = 0.005) -> None:
    """The means differ by at most `within` or two standard errors of their difference, whichever is larger."""
    two_standard_errors = 2 * (variance(ours) / len(ours) + variance(theirs) / len(theirs)) ** 0.5
    difference = mean(ours) - mean(theirs)
    assert abs(difference) <= max(within, two_standard_errors), f"{difference:+.4f}: {ours} against {theirs}"
