"""A training that others compare with further ones ends behind an epoch when they have seen enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Checkpoint

from regtorch.errors import RegtorchError
from regtorch.training.position import position

#: (number of epochs done, their last values) -> why the training ends here; None: it goes on
Pruner = Callable[[int, Mapping[str, float]], str | None]


class PrunedError(RegtorchError):
    """A run that a pruner ended behind an epoch; its last checkpoint is whole, and it can go on from there.

    Args:
        reason: of the pruner.
        epochs: that were done.
        values: of the last one.
    """

    def __init__(self, reason: str, epochs: int, values: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.epochs, self.values = epochs, dict(values)


class PruningCallback(Checkpoint):
    """Asks the pruner behind each epoch but the last; on several processes the first one asks.

    It is a `Checkpoint` as Lightning calls those when all values of an epoch are there; it stands before those that write.

    Args:
        pruner: None on processes that cannot ask.
    """

    def __init__(self, pruner: Pruner | None) -> None:
        super().__init__()
        self.pruner = pruner
        self.pruned: PrunedError | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Ask again where a training goes on: it may have been killed between that checkpoint and the answer."""
        at = position(trainer)
        if at.epochs and not at.within_epoch:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """End the training if the pruner says why; the checkpoint of the epoch is written afterwards."""
        epochs = position(trainer).epochs
        if trainer.should_stop or epochs >= (trainer.max_epochs or 0):
            return
        values: dict[str, Any] = dict(pl_module.epoch_values)  # type: ignore[arg-type]
        reason = self.pruner(epochs, values) if self.pruner is not None and trainer.is_global_zero else None
        if (reason := trainer.strategy.broadcast(reason)) is not None:
            self.pruned = PrunedError(reason, epochs, values)
            trainer.should_stop = True
