"""One cycle."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "one_cycle")
class OneCycleScheduler(Scheduler):
    """From lr / 25 up to lr, then down to almost nothing. Source: Smith and Topin, "Super-convergence", 2019.

    The momentum stays as it is.

    Args:
        warmup_fraction: share of all steps on the way up, 0 to 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = OneCycleScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'step'
    """

    def __init__(self, warmup_fraction: float = 0.3) -> None:
        check(warmup_fraction=warmup_fraction)
        self.warmup_fraction = warmup_fraction

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""
        return {
            "scheduler": OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                total_steps=max(1, total_steps) + 1,  # a scheduler is stepped once more after the last optimizer step
                pct_start=self.warmup_fraction,
                cycle_momentum=False,
            ),
            "interval": "step",
        }
