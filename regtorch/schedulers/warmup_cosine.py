"""Linear warm-up, then cosine annealing."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "warmup_cosine")
class WarmupCosineScheduler(Scheduler):
    """Rises linearly from almost 0 to lr, then falls to 0 along half a cosine.

    Source: Goyal et al., 2017 (warm-up); Loshchilov and Hutter, 2017.

    Args:
        warmup_fraction: fraction of all steps for the warm-up, 0 to 1.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = WarmupCosineScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'step'
    """

    def __init__(self, warmup_fraction: float = 0.1) -> None:
        check(warmup_fraction=warmup_fraction)
        self.warmup_fraction = warmup_fraction

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""
        warmup = max(1, round(self.warmup_fraction * total_steps))

        def rise_and_fall(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total_steps - warmup)))) / 2

        return {"scheduler": LambdaLR(optimizer, rise_and_fall), "interval": "step"}
