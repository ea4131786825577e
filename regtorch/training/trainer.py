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

from regtorch.system.launcher import by_slurm
from regtorch.training.callbacks import MaxSteps, make_callbacks
from regtorch.training.checkpoints import AtomicCheckpointIO
from regtorch.training.epoch_table import EpochTable
from regtorch.training.interruption import Interruption
from regtorch.training.processes import World
from regtorch.training.pruning import PruningCallback


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
    """Make Lightning's Trainer with the run's callbacks and loggers.

    Args:
        config: the run's configuration.
        folder: the run's folder.
        validated: whether there is a validation part.
        world: the processes of the run.
        interruption: records signals that end the training.
        steps_before: optimizer steps before the run was resumed.
        pruning: may end the run after an epoch.
        progress_bar: whether to show a progress bar on a terminal.
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
        """The number of optimizer steps of the training."""
        ends = [callback.steps for callback in self.callbacks if isinstance(callback, MaxSteps)]  # type: ignore[attr-defined]
        return min([super().estimated_stepping_batches, *ends])


def make_evaluator(config: Mapping[str, Any], folder: Path, world: World) -> lightning.Trainer:
    """Make a Trainer for evaluation on all processes, each with the complete model."""
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
    """Convert the node ``trainer`` to arguments of Lightning's Trainer, given the processes.

    On the CPU, ``16-mixed`` is float16 with a scaled loss, as on a GPU; Lightning would use bfloat16 instead.
    """
    settings = dict(trainer)
    strategy, accelerator = settings.pop("strategy"), settings["accelerator"]
    settings["devices"], settings["num_nodes"] = world.ranks_here, world.machines
    plugins: list[Any] = [AtomicCheckpointIO()]
    if by_slurm():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # regtorch handles checkpoints and signals
    elif SLURMEnvironment.detect():
        plugins.append(
            LightningEnvironment()
        )  # inside a Slurm job, but not one of its tasks, although Lightning would assume so
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not _has_gpu())
    if on_cpu and settings["precision"] in ("16-mixed", 16):
        del settings["precision"]
        plugins.append(MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu")))
    if strategy == "fsdp" and settings.get("precision") in ("64-true", 64):
        del settings["precision"]  # Lightning refuses the name, but accepts the plugin
        plugins.append(DoublePrecision())
    # the loaders distribute the rows themselves: Lightning's sampler repeats rows if they do not divide evenly
    return {**settings, "strategy": _strategy(strategy, world), "plugins": plugins, "use_distributed_sampler": False}


def device_count(trainer: Mapping[str, Any]) -> int:
    """Return the number of processes on this machine that the node ``trainer`` asks for."""
    devices = trainer["devices"]
    if devices in (-1, "auto"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    return int(devices)


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _strategy(name: str, world: World) -> Strategy | str:
    if name == "fsdp":
        # a checkpoint in one file can be loaded on any number of devices
        return ModelParallelStrategy(
            data_parallel_size=world.ranks, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return DDPStrategy() if world.ranks > 1 else "auto"
