"""Cosine annealing."""

from __future__ import annotations

from regtorch.functional.cosine_annealing import cosine_annealing
from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check


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
