"""One cycle."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check

#: the initial learning rate as a fraction of the largest
LOWEST = 1 / 25


@register("scheduler", "one_cycle")
class OneCycleScheduler(Scheduler):
    """Rises from lr / 25 to lr, then falls to 0, each along half a cosine; the momentum does not change.

    Source: Smith and Topin, "Super-convergence", 2019.

    Args:
        warmup_fraction: fraction of all steps for the warm-up, 0 to 1.

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
        warmup = round(self.warmup_fraction * total_steps)

        def up_and_down(step: int) -> float:
            if step < warmup:
                return LOWEST + (1.0 - LOWEST) * (1.0 - math.cos(math.pi * step / warmup)) / 2
            return (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total_steps - warmup)))) / 2

        return {"scheduler": LambdaLR(optimizer, up_and_down), "interval": "step"}
