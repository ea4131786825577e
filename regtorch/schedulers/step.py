"""Steps."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "step")
class StepScheduler(Scheduler):
    """Multiplies the learning rate by `decay` after every `every` epochs.

    Args:
        every: number of epochs between two drops, >= 1.
        decay: multiplier of the learning rate, above 0, at most 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = StepScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'epoch'
    """

    def __init__(self, every: int = 10, decay: float = 0.1) -> None:
        check(every=every, decay=decay)
        self.every = every
        self.decay = decay

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""
        return {"scheduler": StepLR(optimizer, step_size=self.every, gamma=self.decay), "interval": "epoch"}
