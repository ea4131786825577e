"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import EMAWeightAveraging

from regtorch.training.classifier import Classifier


class AveragedWeights(EMAWeightAveraging):
    """Lightning's average over steps, of a `Classifier` over those that were really taken.

    Lightning counts a step that a ``GradScaler`` skips, and would average the same weights in once more.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average the weights in, if the step was taken."""
        if isinstance(pl_module, Classifier) and not pl_module.stepped:
            self._latest_update_step = trainer.global_step  # it is done with, also in the batches before the next
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
