"""No change."""

from __future__ import annotations

from regtorch.registry import register
from regtorch.schedules.base import Schedule


@register("schedule", "constant")
class ConstantSchedule(Schedule):
    """Keeps the nominal value: the factor is always 1.

    Example:
        >>> ConstantSchedule().factor(0.3)
        1.0
    """

    def factor(self, progress: float) -> float:
        """1 at any `progress`."""
        return 1.0
