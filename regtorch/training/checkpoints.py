"""The best and the last checkpoint of a run, written atomically."""

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

from regtorch.system.files import replaced
from regtorch.training.interruption import Agreement, Interrupted, Interruption

_SAVE = 1  # an action for `Agreement`; any other action is the number of a signal


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file next to the target and renames it; reads without executing content.

    Lightning's own writes to the system's temporary folder, from where a file may have to be copied to the target.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint, and wait until it is on the disk."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch would replace the OSError of a full disk by one of its own errors
        torch.save(checkpoint, content)
        with replaced(target) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint; tensors are loaded to the CPU."""
        return super().load_checkpoint(path, map_location or _to_cpu, weights_only=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a checkpoint; the target is replaced when the copy is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(target) as temporary:
        shutil.copyfile(source, temporary)


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint of the best epoch so far; a run that is resumed in another folder copies it there."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far."""
        best = Path(state_dict["best_model_path"] or "")
        moved = str(state_dict["dirpath"]) != str(self.dirpath)
        if moved and best.name and self.dirpath is not None:
            here = Path(self.dirpath) / best.name
            if not best.is_file() and not here.is_file():
                return  # best.ckpt was lost: start without a best score
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
    """Writes ``last.ckpt`` after each epoch, at intervals of steps or seconds, and when a signal ends the training.

    It is written when all state is consistent: after an optimizer step, or after an epoch and its validation. In the
    middle of an epoch it also stores the position in the data.

    Args:
        path: the file.
        every_n_steps: interval in optimizer steps; None: only after epochs.
        every_seconds: interval in seconds; None: only after epochs.
        interruption: records signals.
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
        self.steps = 0  # of this process, since the training started
        self._saved_at, self._saved_time = -1, time.monotonic()
        self._agreement = Agreement("", 1)
        self._proposed = False
        self._ends_run = 0  # the signal that ends the run when the epoch has ended

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Defer signals from now on."""
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
        """Save if a checkpoint is due, and end the training if a signal arrived."""
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
            self._ends_run = due  # after the rest of the epoch, such as its validation
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
        """Save, and end the training on a signal that all processes know of."""
        self._save(trainer)
        noted = self.interruption.signum or 0
        if (signum := noted if trainer.world_size == 1 else self._ends_run) > _SAVE:
            raise Interrupted(signum)

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_time = trainer.global_step, time.monotonic()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Let signals end the run at once from now on."""
        self._stop_deferring()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        """Let signals end the run at once from now on."""
        self._stop_deferring()

    def _stop_deferring(self) -> None:
        self.interruption.deferred = False


def _to_cpu(storage: Any, location: str) -> Any:
    return storage
