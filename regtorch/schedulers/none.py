"""No schedule."""

from __future__ import annotations

from torch.optim import Optimizer

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler


@register("scheduler", "none")
class NoScheduler(Scheduler):
    """The learning rate does not change."""

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> None:
        """Nothing."""
        return None
