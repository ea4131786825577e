"""Where a training is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning


@dataclass(frozen=True)
class Position:
    """What of a training is done: whole epochs, and batches of the one after them (0 between epochs)."""

    epochs: int
    batches: int

    @property
    def within_epoch(self) -> bool:
        """Whether an epoch is not done yet."""
        return self.batches > 0


def position(trainer: lightning.Trainer) -> Position:
    """Where a Trainer's fit loop is, behind a batch or an epoch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    within = epochs.processed != epochs.started
    return Position(epochs.processed, trainer.fit_loop.epoch_loop.batch_progress.current.ready if within else 0)
