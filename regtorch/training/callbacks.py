"""The callbacks of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from regtorch.training.averaging import AveragedWeights
from regtorch.training.checkpoints import BestCheckpoint, LastCheckpoint
from regtorch.training.interruption import Interruption
from regtorch.training.stopping import Patience

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
