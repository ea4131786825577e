"""Pruning: a training ends after an epoch if a search or successive halving decides so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Checkpoint

from regtorch.errors import RegtorchError
from regtorch.training.progress import position

#: (number of completed epochs, values of the last one) -> reason to end the training; None to continue
Pruner = Callable[[int, Mapping[str, float]], str | None]


class PrunedError(RegtorchError):
    """A pruner ended the run after an epoch; it can be resumed from its last checkpoint.

    Args:
        reason: the pruner's reason.
        epochs: number of completed epochs.
        values: values of the last epoch.
    """

    def __init__(self, reason: str, epochs: int, values: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.epochs, self.values = epochs, dict(values)


class PruningCallback(Checkpoint):
    """Calls the pruner after each epoch except the last; with several processes, rank 0 calls it.

    It is a `Checkpoint` because Lightning calls those when all values of an epoch are known. It must precede the callbacks
    that write checkpoints.

    Args:
        pruner: None on processes other than rank 0.
    """

    def __init__(self, pruner: Pruner | None) -> None:
        super().__init__()
        self.pruner = pruner
        self.pruned: PrunedError | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Call the pruner for a resumed run, which may have been killed after its checkpoint but before the call."""
        at = position(trainer)
        if at.epochs and not at.within_epoch:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """End the training if the pruner returns a reason; the checkpoint of the epoch is written afterwards."""
        epochs = position(trainer).epochs
        if trainer.should_stop or epochs >= (trainer.max_epochs or 0):
            return
        values: dict[str, Any] = dict(pl_module.epoch_values)  # type: ignore[arg-type]
        reason = self.pruner(epochs, values) if self.pruner is not None and trainer.is_global_zero else None
        if (reason := trainer.strategy.broadcast(reason)) is not None:
            self.pruned = PrunedError(reason, epochs, values)
            trainer.should_stop = True
