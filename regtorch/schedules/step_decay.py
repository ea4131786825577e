"""Drops at regular intervals."""

from __future__ import annotations

import math

from regtorch.registry import register
from regtorch.schedules.base import Schedule
from regtorch.settings import check

__all__ = ["StepSchedule", "step_decay"]


def step_decay(progress: float, *, decay: float = 0.5, every_fraction: float = 0.25) -> float:
    """Multiplied by `decay` after each `every_fraction` of the training: ``decay^floor(progress / every_fraction)``.

    Args:
        progress: finished fraction of the training, 0 to 1.
        decay: multiplier of the factor, above 0, at most 1.
        every_fraction: fraction of the training between two drops, above 0, at most 1. A drop occurs as soon as its
            fraction is reached, so the last one may occur exactly at the end of the training.

    Source: He et al., "Deep residual learning", 2016 (for the learning rate).

    Example:
        >>> [step_decay(progress) for progress in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    """
    # 0.3 / 0.1 is slightly less than 3 in binary: a quotient so close to an integer counts as that integer
    return decay ** math.floor(progress / every_fraction * (1.0 + 1e-12))


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
