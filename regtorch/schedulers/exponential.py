"""Exponential decay."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "exponential")
class ExponentialScheduler(Scheduler):
    """Multiplies the learning rate by `decay` after each epoch.

    Args:
        decay: multiplier of the learning rate, above 0, at most 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = ExponentialScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'epoch'
    """

    def __init__(self, decay: float = 0.95) -> None:
        check(decay=decay)
        self.decay = decay

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""
        return {"scheduler": ExponentialLR(optimizer, gamma=self.decay), "interval": "epoch"}
