"""The position of a training in its epochs and batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning


@dataclass(frozen=True)
class Position:
    """Completed epochs, and completed batches of the next epoch (0 between epochs)."""

    epochs: int
    batches: int

    @property
    def within_epoch(self) -> bool:
        """Whether the position is in the middle of an epoch."""
        return self.batches > 0


def position(trainer: lightning.Trainer) -> Position:
    """Return the position of a Trainer's fit loop, after a batch or an epoch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    within = epochs.processed != epochs.started
    return Position(epochs.processed, trainer.fit_loop.epoch_loop.batch_progress.current.ready if within else 0)
