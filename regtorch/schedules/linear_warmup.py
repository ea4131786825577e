"""Linear warm-up."""

from __future__ import annotations

from regtorch.functional.linear_warmup import linear_warmup
from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check


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
