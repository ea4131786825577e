"""Cosine annealing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "cosine")
class CosineScheduler(Scheduler):
    """Falls from lr to `min_lr` along half a cosine over all steps. Source: Loshchilov and Hutter, "SGDR", 2017.

    Args:
        min_lr: the smallest learning rate, >= 0.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = CosineScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'step'
    """

    def __init__(self, min_lr: float = 0.0) -> None:
        check(min_lr=min_lr)
        self.min_lr = min_lr

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""

        def half_cosine(lr: float) -> Callable[[int], float]:
            # a function of the number of steps, so that an extended training follows a longer cosine
            lowest = self.min_lr / lr
            return lambda step: (
                lowest + (1 - lowest) * (1 + math.cos(math.pi * min(1.0, step / max(1, total_steps)))) / 2
            )

        return {
            "scheduler": LambdaLR(optimizer, [half_cosine(g["lr"]) for g in optimizer.param_groups]),
            "interval": "step",
        }
