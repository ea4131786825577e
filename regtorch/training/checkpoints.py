"""Checkpoints of a run: the best and the last one, written whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from regtorch.files import replaced
from regtorch.training.interruption import Agreement, Interrupted, Interruption

_SAVE = 1  # what processes agree on: this, or the number of a signal


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one before and renames it when it is whole; reads without running what is in it.

    Lightning's own writes to the temporary folder first, from where a file may have to be copied into place.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write it, and wait until the disk has it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # what fails on the disk is then an OSError that says so, not one of torch's own
        torch.save(checkpoint, content)
        with replaced(target) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it; tensors come to the CPU."""
        return super().load_checkpoint(path, map_location or _to_cpu, weights_only=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a checkpoint; what was at the target before stays until the copy is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(target) as temporary:
        shutil.copyfile(source, temporary)


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint of the best epoch so far; a run that goes on in another folder takes its best one along."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with the best so far."""
        best = Path(state_dict["best_model_path"] or "")
        moved = str(state_dict["dirpath"]) != str(self.dirpath)
        if moved and best.name and self.dirpath is not None:
            here = Path(self.dirpath) / best.name
            if not best.is_file() and not here.is_file():
                return  # the checkpoints were moved without their best one: comparing begins anew
            if not here.is_file():
                copy_atomically(best, here)
            score = state_dict["best_model_score"]
            names = {
                "best_model_path": str(here),
                "kth_best_model_path": str(here),
                "best_k_models": {str(here): score},
            }
            state_dict = {**state_dict, **names, "dirpath": self.dirpath}
        super().load_state_dict(state_dict)


class LastCheckpoint(Checkpoint):
    """``last.ckpt``: after each epoch, every so many steps or seconds, and when a signal ends the training.

    It is written where all state is whole: behind a step of the optimizer, or behind an epoch with its validation. In
    the middle of an epoch it holds the position in the data too.

    Args:
        path: the file.
        every_n_steps: also after each so many optimizer steps; None: not.
        every_seconds: also when so many seconds have passed since the last time; None: not.
        interruption: where signals are noted.
    """

    def __init__(
        self,
        path: Path,
        every_n_steps: int | None = None,
        every_seconds: float | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.every_n_steps, self.every_seconds = every_n_steps, every_seconds
        self.interruption = interruption or Interruption()
        self.steps = 0  # of this process, since it began
        self._saved_at, self._saved_time = -1, time.monotonic()
        self._agreement = Agreement("", 1)
        self._proposed = False
        self._ends_run = 0  # with this signal, when the epoch has ended

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Signals wait from now on."""
        self.steps = 0
        self._agreement = Agreement(
            f"regtorch/{self.path}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", trainer.world_size
        )
        self._saved_at, self._saved_time = trainer.global_step, time.monotonic()
        self._proposed, self._ends_run = False, 0
        self.interruption.install()
        self.interruption.deferred = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time to, and end the training if a signal came."""
        ends_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.should_stop
        if not ends_epoch and (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.steps += 1
        if self.interruption.signum is not None and not self._proposed:
            self._propose(self.interruption.signum)
        elif self._is_time(trainer):
            self._propose(_SAVE)
        due = self._agreement.after(self.steps)
        if ends_epoch:
            self._ends_run = due  # behind what still is part of the epoch
            return
        counted = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if due or (counted and trainer.global_step > self._saved_at):
            self._save(trainer)
        if due > _SAVE:
            raise Interrupted(due)

    def _propose(self, what: int) -> None:
        self._proposed = self._proposed or what > _SAVE
        self._saved_time = time.monotonic()
        self._agreement.propose(self.steps, what)

    def _is_time(self, trainer: lightning.Trainer) -> bool:
        seconds = time.monotonic() - self._saved_time
        return self.every_seconds is not None and trainer.is_global_zero and seconds >= self.every_seconds

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save; a signal that all processes know of ends the training."""
        self._save(trainer)
        noted = self.interruption.signum or 0
        if (signum := noted if trainer.world_size == 1 else self._ends_run) > _SAVE:
            raise Interrupted(signum)

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_time = trainer.global_step, time.monotonic()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """From now on signals end the run at once."""
        self._stop_waiting()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        """From now on signals end the run at once."""
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        self.interruption.deferred = False


def _to_cpu(storage: Any, location: str) -> Any:
    return storage
