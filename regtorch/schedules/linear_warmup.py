"""Linear warm-up."""

from __future__ import annotations

from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check

__all__ = ["LinearWarmupSchedule", "linear_warmup"]


def linear_warmup(progress: float, *, start: float = 0.0, warmup_fraction: float = 0.1) -> float:
    """From `start` to 1 in a straight line, then 1: ``start + (1 - start) * min(1, progress / warmup_fraction)``.

    Args:
        progress: finished fraction of the training, 0 to 1.
        start: the factor before the first step, >= 0; above 1 the line falls.
        warmup_fraction: fraction of the training for the line, 0 to 1; at 0 the factor is always 1.

    Source: Bowman et al., "Generating sentences from a continuous space", 2016 (a penalty's weight); Zoph et al.,
    "Learning transferable architectures", 2018 (ScheduledDropPath, a drop probability).

    Example:
        >>> [linear_warmup(progress, warmup_fraction=0.5) for progress in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """
    if progress >= warmup_fraction:
        return 1.0
    risen = progress / warmup_fraction
    return start * (1.0 - risen) + risen


@register("schedule", "linear_warmup")
class LinearWarmupSchedule(Schedule):
    """Rises linearly from `start` to 1, then stays 1. See `regtorch.functional.linear_warmup`.

    Args:
        start: the factor before the first step, >= 0.
        warmup_fraction: fraction of the training for the line, 0 to 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> LinearWarmupSchedule(warmup_fraction=0.5).factor(0.125)
        0.25
    """

    def __init__(self, start: float = 0.0, warmup_fraction: float = 0.1) -> None:
        check(start=start, warmup_fraction=warmup_fraction)
        self.start = start
        self.warmup_fraction = warmup_fraction

    def factor(self, progress: float) -> float:
        """The factor at `progress`, the finished fraction of the training, 0 to 1."""
        return linear_warmup(progress, start=self.start, warmup_fraction=self.warmup_fraction)
