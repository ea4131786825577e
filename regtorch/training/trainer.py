"""Lightning's Trainer for a run: its devices, precision and strategy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from regtorch.launcher import by_slurm
from regtorch.training.callbacks import make_callbacks
from regtorch.training.checkpoints import AtomicCheckpointIO
from regtorch.training.epoch_table import EpochTable
from regtorch.training.interruption import Interruption
from regtorch.training.processes import World
from regtorch.training.pruning import PruningCallback
from regtorch.training.stopping import MaxSteps


def make_trainer(
    config: Mapping[str, Any],
    folder: Path,
    validated: bool,
    world: World | None = None,
    interruption: Interruption | None = None,
    steps_before: int = 0,
    pruning: PruningCallback | None = None,
    progress_bar: bool = True,
) -> lightning.Trainer:
    """Lightning's Trainer with the run's callbacks and loggers.

    Args:
        config: of the run.
        folder: of the run.
        validated: whether there is a validation part.
        world: the processes of the run.
        interruption: where signals are noted that end the training.
        steps_before: optimizer steps that the run had taken when it goes on.
        pruning: ends the run where others say so.
        progress_bar: whether a terminal shows how far the epoch is.
    """
    callbacks = make_callbacks(config["callbacks"], folder, validated, config["checkpoint"], interruption, progress_bar)
    if pruning is not None:
        callbacks.insert(0, pruning)
    settings = hardware(config["trainer"], world or World())
    if (max_steps := settings.pop("max_steps", -1)) != -1:
        callbacks.append(MaxSteps(max_steps))
    loggers: list[Logger] = []
    if config["logger"]["csv"]:
        loggers.append(EpochTable(folder / "metrics.csv"))
    if config["logger"]["tensorboard"]:
        since: dict[str, Any] = {"purge_step": steps_before + 1} if steps_before else {}
        loggers.append(TensorBoardLogger(folder, name="", version="", sub_dir="tensorboard", **since))
    return _Trainer(
        **settings,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validated else 0,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, lightning.callbacks.ProgressBar) for c in callbacks),
    )


class _Trainer(lightning.Trainer):
    @property
    def estimated_stepping_batches(self) -> int | float:
        """How many optimizer steps the training takes."""
        ends = [callback.steps for callback in self.callbacks if isinstance(callback, MaxSteps)]  # type: ignore[attr-defined]
        return min([super().estimated_stepping_batches, *ends])


def make_evaluator(config: Mapping[str, Any], folder: Path, world: World) -> lightning.Trainer:
    """A Trainer that only measures: on all processes, each with the whole model."""
    settings = hardware({**config["trainer"], "strategy": "ddp" if world.ranks > 1 else "auto"}, world)
    return lightning.Trainer(
        **settings,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )


def hardware(trainer: Mapping[str, Any], world: World) -> dict[str, Any]:
    """What Lightning's Trainer takes for the node ``trainer``, given the processes that there are.

    On the CPU ``16-mixed`` is float16 with a scaled loss, as on a GPU; Lightning alone would take bfloat16 instead.
    """
    settings = dict(trainer)
    strategy, accelerator = settings.pop("strategy"), settings["accelerator"]
    settings["devices"], settings["num_nodes"] = world.ranks_here, world.machines
    plugins: list[Any] = [AtomicCheckpointIO()]
    if by_slurm():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # checkpoints and signals are ours to handle
    elif SLURMEnvironment.detect():
        plugins.append(
            LightningEnvironment()
        )  # in a job of Slurm's, but not one of its tasks: Lightning would take it for one
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not _has_gpu())
    if on_cpu and settings["precision"] in ("16-mixed", 16):
        del settings["precision"]
        plugins.append(MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu")))
    if strategy == "fsdp" and settings.get("precision") in ("64-true", 64):
        del settings["precision"]  # Lightning refuses the name, but not the thing
        plugins.append(DoublePrecision())
    # the loaders deal the rows themselves: Lightning's sampler repeats some of them where they do not divide evenly
    return {**settings, "strategy": _strategy(strategy, world), "plugins": plugins, "use_distributed_sampler": False}


def device_count(trainer: Mapping[str, Any]) -> int:
    """How many processes the node ``trainer`` asks for on this machine."""
    devices = trainer["devices"]
    if devices in (-1, "auto"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    return int(devices)


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _strategy(name: str, world: World) -> Strategy | str:
    if name == "fsdp":
        # one whole file as checkpoint, which loads on any number of devices
        return ModelParallelStrategy(
            data_parallel_size=world.ranks, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return DDPStrategy() if world.ranks > 1 else "auto"
