"""Measure a trained network on each part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import nn

from regtorch.binding.selection import is_kernel, places
from regtorch.mc import MCPredictor, has_noise
from regtorch.training.build import load_weights, make_module
from regtorch.training.classifier import Classifier
from regtorch.training.data_module import DataModule
from regtorch.training.failure import NonFiniteLossError
from regtorch.training.processes import World
from regtorch.training.trainer import make_evaluator


def measure(config: Mapping[str, Any], folder: Path, world: World, batches: DataModule) -> dict[str, Any]:
    """Load the weights that ``evaluate`` names, complete ones also after sharded training, and measure them.

    Returns:
        The metrics of each part (``train_eval``, ``val``, ``test``, ``test_mc``) and the sparsity.

    Raises:
        NonFiniteLossError: a metric is NaN or infinite.
    """
    splits = batches.splits
    trained = make_module(config, splits.shape, len(splits.classes))
    if config["trainer"]["precision"] in ("64-true", 64):
        trained = trained.double()
    content = load_weights(trained, folder / "checkpoints" / f"{config['evaluate']}.ckpt")
    for penalty in trained.penalties:
        penalty.factor = content.get("regtorch", {}).get("factors", {}).get("penalty", 1.0)
    evaluator = make_evaluator(config, folder, world)
    batches.trainer = evaluator
    return {
        "train_eval": _measured(evaluator, trained, batches.evaluation(splits.train)),
        "val": None if splits.val is None else _measured(evaluator, trained, batches.evaluation(splits.val)),
        "test": _measured(evaluator, trained, batches.test_dataloader()),
        "test_mc": _measured_mc(config, evaluator, trained, batches),
        "sparsity": sparsity(trained.model),
    }


def _measured(trainer: lightning.Trainer, module: Classifier, batches: Any) -> dict[str, float]:
    trainer.test(module, dataloaders=batches, verbose=False)
    for name, value in module.measured.items():
        if not isfinite(value):
            raise NonFiniteLossError(f"{name} of the trained network is {value}: its weights are too large")
    return module.measured


def _measured_mc(config: Mapping[str, Any], trainer: lightning.Trainer, module: Classifier, batches: DataModule) -> Any:
    mc = config["mc"]
    if mc["name"] == "none" or not has_noise(module.model, torch.zeros(2, *batches.splits.shape)):
        return None
    module.predictor = MCPredictor(module.model, samples=mc["samples"], tolerance=mc["tolerance"], seed=config["seed"])
    return {**_measured(trainer, module, batches.test_dataloader()), "samples": mc["samples"]}


def sparsity(model: nn.Module) -> float:
    """Return the share of the kernels' weights that are exactly zero."""
    kernels = [p.parameter for p in places(model) if is_kernel(p.module, p.attribute, p.parameter)]
    return float(sum((w == 0).sum() for w in kernels)) / max(1, sum(w.numel() for w in kernels))
