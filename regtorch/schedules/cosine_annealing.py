"""Cosine annealing."""

from __future__ import annotations

import math

from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check

__all__ = ["CosineSchedule", "cosine_annealing"]


def cosine_annealing(progress: float, *, start: float = 1.0, end: float = 0.0) -> float:
    """From `start` to `end` along half a cosine: ``end + (start - end) * (1 + cos(pi * progress)) / 2``.

    Args:
        progress: finished fraction of the training, 0 to 1.
        start: the factor before the first step, >= 0.
        end: the factor after the last step, >= 0; it may be the larger one.

    Source: Loshchilov and Hutter, "SGDR", 2017.

    Example:
        >>> [round(cosine_annealing(progress), 3) for progress in (0.0, 0.25, 0.5, 1.0)]
        [1.0, 0.854, 0.5, 0.0]
    """
    remaining = (1.0 + math.cos(math.pi * progress)) / 2.0
    return start * remaining + end * (1.0 - remaining)  # exact at both ends


@register("schedule", "cosine")
class CosineSchedule(Schedule):
    """Goes from `start` to `end` along half a cosine over the training. See `regtorch.functional.cosine_annealing`.

    Args:
        start: the factor before the first step, >= 0.
        end: the factor after the last step, >= 0.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> round(CosineSchedule(end=0.5).factor(0.5), 6)
        0.75
    """

    def __init__(self, start: float = 1.0, end: float = 0.0) -> None:
        check(start=start, end=end)
        self.start = start
        self.end = end

    def factor(self, progress: float) -> float:
        """The factor at `progress`, the finished fraction of the training, 0 to 1."""
        return cosine_annealing(progress, start=self.start, end=self.end)
