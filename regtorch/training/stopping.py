"""Callbacks that end a training before its last epoch, also when it is resumed."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Lightning's early stopping, which also stops a resumed training, with the current patience."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count of epochs without improvement."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Do not train if the patience was used up before."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class MaxSteps(lightning.Callback):
    """Ends the training after a number of optimizer steps, also in the middle of an epoch, with a validation.

    Lightning's own ``max_steps`` cannot resume from a checkpoint that was written between two epochs.

    Args:
        steps: number of optimizer steps, over all epochs.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Do not train if the checkpoint has reached the number of steps."""
        trainer.should_stop = trainer.should_stop or checkpoint["global_step"] >= self.steps

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """End the training if this was the last step."""
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.steps
