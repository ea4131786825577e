"""Reduction on a plateau."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from regtorch.registry import register
from regtorch.schedulers.base import Scheduler
from regtorch.settings import check


@register("scheduler", "plateau")
class PlateauScheduler(Scheduler):
    """Multiplies the learning rate by `decay` when the validation metric no longer improves. Needs validation data.

    Args:
        decay: multiplier of the learning rate, above 0, at most 1.
        patience: number of epochs without improvement before a drop, >= 0.
        min_lr: the smallest learning rate, >= 0.
        monitor: ``"val_loss"`` (lowest) or ``"val_accuracy"`` (highest).

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> built = PlateauScheduler().build(optimizer, total_steps=20, epochs=2, steps_per_epoch=10)
        >>> built["interval"]
        'epoch'
    """

    def __init__(self, decay: float = 0.1, patience: int = 5, min_lr: float = 0.0, monitor: str = "val_loss") -> None:
        check(decay=decay, patience=patience, min_lr=min_lr, monitor=monitor)
        self.decay = decay
        self.patience = patience
        self.min_lr = min_lr
        self.monitor = monitor

    def build(self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
        """The schedule for one optimizer."""
        return {
            "scheduler": ReduceLROnPlateau(
                optimizer,
                mode="max" if self.monitor == "val_accuracy" else "min",
                factor=self.decay,
                patience=self.patience,
                min_lr=self.min_lr,
            ),
            "interval": "epoch",
            "monitor": self.monitor,
        }
