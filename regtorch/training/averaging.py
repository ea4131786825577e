"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import EMAWeightAveraging

from regtorch.training.classifier import Classifier


class AveragedWeights(EMAWeightAveraging):
    """Lightning's average of the weights over steps, for a `Classifier` without skipped steps.

    Lightning also counts a step that a ``GradScaler`` skips, and would add the same weights to the average again.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, if the step was taken."""
        if isinstance(pl_module, Classifier) and not pl_module.stepped:
            self._latest_update_step = trainer.global_step  # also skips the remaining batches of the window
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
