"""The progress of a training: its position in epochs and batches, and the time that it took."""

from __future__ import annotations

import time
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


class Elapsed:
    """Counts the seconds since its creation, plus those before the run was resumed.

    Example:
        >>> elapsed = Elapsed()
        >>> elapsed.before = 100.0
        >>> 100.0 <= elapsed() < 200.0
        True
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        #: seconds before the run was resumed, from its checkpoint
        self.before = 0.0

    def __call__(self) -> float:
        """Return the seconds, rounded to milliseconds."""
        return round(self.before + time.perf_counter() - self._began, 3)
