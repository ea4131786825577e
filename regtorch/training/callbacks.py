"""The callbacks of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from regtorch.training.checkpoints import BestCheckpoint, LastCheckpoint
from regtorch.training.classifier import Classifier
from regtorch.training.interruption import Interruption

#: values that the progress bar shows, as far as they fit
_SHOWN = ("loss", "accuracy", "penalty", "val_loss", "val_accuracy")

_BAR = 52  # columns of a bar without them


def make_callbacks(
    config: Mapping[str, Any],
    folder: Path,
    validated: bool,
    checkpoint: Mapping[str, Any] | None = None,
    interruption: Interruption | None = None,
    progress_bar: bool = True,
) -> list[lightning.Callback]:
    """Make the callbacks of a run.

    Args:
        config: the node ``callbacks``.
        folder: the run's folder.
        validated: whether there is a validation part; without one, the training loss is monitored instead of the
            validation loss.
        checkpoint: the node ``checkpoint``: when the last checkpoint is written in addition to the end of each epoch.
        interruption: records signals that end the training.
        progress_bar: whether to show a progress bar on a terminal.
    """
    monitor = config["monitor"] if validated else config["monitor"].removeprefix("val_")
    mode = "max" if monitor.endswith("accuracy") else "min"
    folder = folder / "checkpoints"
    best = {"monitor": monitor, "mode": mode, "save_on_train_epoch_end": True, "enable_version_counter": False}
    when = {key: value for key, value in (checkpoint or {}).items() if key != "seconds_to_stop"}
    callbacks: list[lightning.Callback] = [
        BestCheckpoint(folder, "best", **best),
        LastCheckpoint(folder / "last.ckpt", **when, interruption=interruption),
    ]
    if config.get("ema_decay") is not None:
        callbacks.append(AveragedWeights(decay=config["ema_decay"]))
    if config["patience"] is not None:
        stopping = {"patience": config["patience"], "min_delta": config["min_delta"], "mode": mode}
        callbacks.append(Patience(monitor, check_on_train_epoch_end=True, **stopping))
    if progress_bar and sys.stderr.isatty():
        callbacks.append(ProgressBar())
    return callbacks


class ProgressBar(TQDMProgressBar):
    """A progress bar with the current loss, penalty and accuracy, speed and remaining time."""

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """Return the values of the current epoch and of the last validation."""
        metrics = getattr(pl_module, "training_metrics", None)
        values = {**getattr(pl_module, "epoch_values", {}), **(metrics.running() if metrics else {})}
        shown = {name: f"{values[name]:.4g}" for name in _SHOWN if name in values}
        room = get_terminal_size().columns - _BAR
        fitting = 0
        for name, value in shown.items():  # a bar that is too long would be cut inside a number
            room -= len(f", {name}={value}")
            fitting += room >= 0
        return dict(islice(shown.items(), fitting))

    def init_test_tqdm(self) -> Tqdm:
        """Show no bar while the results are measured."""
        return Tqdm(disable=True)


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
