"""Drops at regular intervals."""

from __future__ import annotations

from regtorch.functional.step_decay import step_decay
from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check


@register("schedule", "step")
class StepSchedule(Schedule):
    """Multiplied by `decay` after each `every_fraction` of the training. See `regtorch.functional.step_decay`.

    Args:
        decay: multiplier of the factor, above 0, at most 1.
        every_fraction: fraction of the training between two drops, above 0, at most 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> StepSchedule(decay=0.1, every_fraction=0.5).factor(0.6)
        0.1
    """

    def __init__(self, decay: float = 0.5, every_fraction: float = 0.25) -> None:
        check(decay=decay, every_fraction=every_fraction)
        self.decay = decay
        self.every_fraction = every_fraction

    def factor(self, progress: float) -> float:
        """The factor at `progress`, the finished fraction of the training, 0 to 1."""
        return step_decay(progress, decay=self.decay, every_fraction=self.every_fraction)
