"""When a training ends before its last epoch; one that goes on knows that it had ended."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Lightning's early stopping, whose decision outlives the process, with the patience that is asked for now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting the epochs without improvement."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Train no further than the patience lasted."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class MaxSteps(lightning.Callback):
    """Ends the training after so many optimizer steps, in the middle of an epoch too, with a validation as behind it.

    Lightning's own ``max_steps`` does not go on from a checkpoint that was written between two epochs.

    Args:
        steps: how many, over all epochs.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Train no further than that."""
        trainer.should_stop = trainer.should_stop or checkpoint["global_step"] >= self.steps

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """End the training if this was the last step."""
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.steps
