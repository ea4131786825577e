"""Predict a part of a data set with Lightning, on one or several devices, with and without sampling."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor

from regtorch.data.batches import loader
from regtorch.data.further_rows import NetworkInput
from regtorch.data.splits import Split
from regtorch.errors import DataError
from regtorch.mc import MCPrediction, MCPredictor, has_noise
from regtorch.training.build import load_weights, make_model
from regtorch.training.classifier import Classifier
from regtorch.training.interruption import Interruption
from regtorch.training.metrics import EvaluationMetrics
from regtorch.training.predicted_rows import PredictedRows, in_order
from regtorch.training.quiet import quiet
from regtorch.training.subnormals import flush_subnormals
from regtorch.training.weights import check_finite_weights

#: batch size, independent of the number of devices; the predictor bounds its own memory
BATCH = 128


@dataclass(frozen=True)
class Predicted:
    """Predictions of all rows in order: the moments of the samples, and the probabilities with dropout off.

    `sampled` is None for a network without dropout.
    """

    sampled: MCPrediction | None
    deterministic: Tensor

    @property
    def moments(self) -> dict[str, np.ndarray | None]:
        """The moments by name; without samples, only the probabilities and their entropy."""
        if self.sampled is None:
            entropy = torch.special.entr(self.deterministic).sum(1)
            used = torch.zeros(len(entropy), dtype=torch.int64)
            return {
                "mean": self.deterministic.numpy(),
                "predictive_entropy": entropy.numpy(),
                "samples_used": used.numpy(),
            }
        return {name: None if value is None else value.numpy() for name, value in self.sampled.tensors().items()}


def predict(
    config: Mapping[str, Any],
    network: NetworkInput,
    split: Split,
    checkpoint: Path,
    *,
    error: Callable[[str], DataError],
    accelerator: str = "auto",
    devices: int = 1,
    workers: int = 0,
    **sampling: Any,
) -> Predicted | None:
    """Predict each row once with dropout off, and, if the network has dropout, by the moments of samples.

    Rows are split into batches before these are distributed over the devices, so the result does not depend on their
    number, even if each row has its own masks.

    Args:
        config: the run's configuration, as plain containers.
        network: shape and classes of the training data.
        split: the rows, at least one, preprocessed like the training rows.
        checkpoint: the run's checkpoint.
        accelerator: cpu, gpu, ..., or auto.
        devices: number of processes; each calls this function, because Lightning starts the script again for the others.
        error: makes an error about the rows.
        workers: DataLoader workers.
        sampling: ``samples``, ``seed``, ``tolerance`` and ``masks`` of the `MCPredictor`.

    Returns:
        The prediction on rank 0, None on the other ranks.

    Raises:
        RegtorchError: the checkpoint cannot be read or belongs to another model.
    """
    quiet()
    classes = len(network.classes)
    module = Classifier(make_model(config, network.shape, classes), classes)
    load_weights(module, checkpoint)
    check_finite_weights(module.model, checkpoint)
    predictor = (
        MCPredictor(module.model, **sampling) if has_noise(module.model, torch.zeros(2, *network.shape)) else None
    )
    devices = min(devices, math.ceil(len(split) / BATCH))  # a device without a batch would wait for the others forever
    interruption = Interruption()
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=config["trainer"]["precision"],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False,  # it would distribute rows, not batches
        callbacks=[_StopAtOnce(interruption)],
    )
    batches = _PredictionBatches(split, workers)
    with interruption.handling_signals(), flush_subnormals():
        deterministic = batches.predicted(trainer, module)
        if devices == 1:  # otherwise the other processes would wait for the one that raises
            check_finite(deterministic, error)
        sampled = None
        if predictor is not None:
            module.predictor = predictor
            sampled = batches.predicted(trainer, module)
    if not isinstance(deterministic, Tensor):
        return None
    check_finite(deterministic, error)
    if not isinstance(sampled, MCPrediction):
        return Predicted(None, deterministic)
    check_finite(sampled.mean, error)
    return Predicted(sampled, deterministic)


def check_finite(probabilities: Any, error: Callable[[str], DataError]) -> None:
    """Raise if a network with finite weights returns NaN, which means that the values of the row are too large.

    Raises:
        DataError: names the first such row.

    Example:
        >>> check_finite(torch.tensor([[0.5, 0.5]]), DataError)
        >>> check_finite(torch.tensor([[0.5, 0.5], [torch.nan, 1.0]]), DataError)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        regtorch.errors.DataError: for 1 of the 2 rows the network returns numbers that are not finite, first for row 1: ...
    """
    wrong = [] if probabilities is None else (~torch.isfinite(probabilities)).any(1).nonzero()[:, 0].tolist()
    if wrong:
        raise error(
            f"for {len(wrong)} of the {len(probabilities):,} rows the network returns numbers that are not finite, first for "
            f"row {wrong[0]}: are their values on the scale of the training data?"
        )


class _StopAtOnce(lightning.Callback):
    """Lets SIGTERM and Ctrl-C end the process at once, because there is nothing to save."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.interruption.install()  # Lightning has replaced the handlers with its own


class _PredictionBatches(lightning.LightningDataModule):
    """The batches of a part, distributed over the processes in turn."""

    def __init__(self, split: Split, workers: int) -> None:
        super().__init__()
        self.split, self.workers = split, workers

    @property
    def rows(self) -> np.ndarray:
        """The numbers of this process's rows: complete batches of the part."""
        assert self.trainer is not None
        numbers = np.arange(len(self.split))
        own: np.ndarray = numbers[numbers // BATCH % self.trainer.world_size == self.trainer.global_rank]
        return own

    def predict_dataloader(self) -> Any:
        all_rows = len(self.rows) == len(self.split)
        return loader(self.split if all_rows else self.split.take(self.rows), BATCH, workers=self.workers)

    def predicted(self, trainer: lightning.Trainer, module: Classifier) -> MCPrediction | Tensor | None:
        """Predict all rows of all processes; returns them on rank 0."""
        batches: Any = trainer.predict(module, datamodule=self) or []
        numbers = torch.from_numpy(self.rows)
        return in_order([PredictedRows(numbers[batch.rows], batch.prediction) for batch in batches])


def measure(probabilities: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Compute accuracy, NLL, Brier score and calibration error (15 bins) of (rows, classes) probabilities.

    Example:
        >>> measured = measure(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), np.array([0, 1]))
        >>> round(measured["nll"], 4)  # the mean of -log 0.75 and -log 0.5
        0.4904
    """
    metrics = EvaluationMetrics(probabilities.shape[1], together=False)  # the other processes do not have the rows
    smallest = torch.finfo(torch.float32).tiny
    metrics.update(probabilities.clamp_min(smallest).log(), torch.from_numpy(labels))
    return metrics.compute()
