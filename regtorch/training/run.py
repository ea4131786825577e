"""One training run: from a checked configuration to a folder with checkpoints, metrics and results."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from platform import python_version
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import nn

import regtorch
from regtorch.binding.selection import is_kernel, places
from regtorch.data.base import DataSet
from regtorch.data.labels import missing_classes
from regtorch.errors import as_one_line
from regtorch.mc import MCPredictor, has_noise
from regtorch.registry.advice import advise
from regtorch.registry.user_script import user_script
from regtorch.system.files import remove_unfinished
from regtorch.training.bound_rules import bound_rules, by_weight, summary
from regtorch.training.build import load_weights, make_module, read_checkpoint
from regtorch.training.checkpoints import copy_atomically
from regtorch.training.classifier import Classifier
from regtorch.training.data_module import DataModule
from regtorch.training.disk_space import check_disk_space
from regtorch.training.epoch_table import restore_table
from regtorch.training.failure import NonFiniteLossError, explain
from regtorch.training.interruption import SECONDS_TO_STOP, Interrupted, Interruption
from regtorch.training.no_effect import Facts, without_effect
from regtorch.training.outcome import Outcome, SetResultsAside
from regtorch.training.processes import Processes, World, launched, processes
from regtorch.training.progress import Elapsed, position
from regtorch.training.pruning import PruningCallback
from regtorch.training.resumable import check_resumable
from regtorch.training.subnormals import flush_subnormals
from regtorch.training.threads import threads_without_tracebacks
from regtorch.training.trainer import device_count, make_evaluator, make_trainer

log = logging.getLogger("regtorch")


def run(
    config: Mapping[str, Any],
    data: DataSet,
    folder: Path,
    ckpt_path: Path | None = None,
    overrides: Sequence[str] = (),
    pruning: PruningCallback | None = None,
    progress_bar: bool = True,
) -> dict[str, Any]:
    """Train, measure, and write the run's folder; ``results.json`` is written last.

    With ``trainer.devices`` above one, this starts the other processes, unless torchrun or Slurm have started them. All
    processes call this function, but only rank 0 writes files.

    Args:
        config: a checked configuration of ``train.py``, as plain containers.
        data: the data set.
        folder: the run's folder.
        ckpt_path: a checkpoint to start from.
        overrides: the overrides as typed, for the results.
        pruning: may end the run after an epoch.
        progress_bar: whether to show a progress bar on a terminal; false for one of many runs.

    Returns:
        The content of ``results.json``.

    Raises:
        PrunedError: `pruning` ended the run; ``results.json`` has ``status: pruned``.
        NonFiniteLossError: the loss became NaN or infinite; ``results.json`` has ``status: failed``.
        ProcessError: another process of the run ended.
        Interrupted: SIGTERM or Ctrl-C; the last checkpoint is written, and ``results.json`` has ``status: interrupted``.
    """
    splits = data.load()
    context = {
        "advice": [*advise(config), *missing_classes(splits.train.y, splits.classes)],
        "versions": _versions(),
        "overrides": list(overrides),
        "class_names": list(splits.classes),
        "output_transform": "softmax",  # converts the logits
    }
    task = {
        "config": config,
        "folder": str(folder),
        "ckpt_path": None if ckpt_path is None else str(ckpt_path),
        "overrides": list(overrides),
        "pruning": pruning is not None,
        "user_script": None if (script := user_script()) is None else asdict(script),
    }
    world = launched()
    count = 1 if world is not None else device_count(config["trainer"])
    first = world is None or world.rank == 0
    elapsed = Elapsed()
    outcome = Outcome(folder, lambda: {"seed": config["seed"], "seconds": elapsed(), **context}, first)
    seconds_to_stop = config["checkpoint"].get("seconds_to_stop", SECONDS_TO_STOP)
    interruption = Interruption(seconds_to_stop, outcome.on_timeout)
    if first:
        for left in (folder, folder / ".hydra", folder / "checkpoints"):
            remove_unfinished(left)
    try:
        with (
            interruption.handling_signals(),
            threads_without_tracebacks(),
            flush_subnormals(),
            processes(count, task, folder, outcome.fail) as others,
        ):
            world = world or World(0, count, count)
            try:
                measured = _train_and_measure(
                    config,
                    data,
                    folder,
                    ckpt_path,
                    world,
                    elapsed,
                    interruption,
                    others,
                    outcome,
                    pruning,
                    progress_bar,
                )
            except BaseException as error:
                if (reason := explain(others.cause_of(error), config, folder)) is not error:
                    raise reason from error
                raise
            interruption.deferred = True  # the run is complete in a moment
            without = [{"text": text, "source": "of this run"} for text in measured.pop("without_effect")]
            context["advice"] = [*context["advice"], *without]
            context["rules"] = measured.pop("rules")
            results = outcome.complete(measured)
            others.results_are_written()
    except BaseException as error:
        if outcome.completed:
            if isinstance(error, SystemExit):
                raise
            log.warning("after the results were written: %s", as_one_line(error))
            return results
        outcome.fail(error)
        raise
    return results


def _train_and_measure(
    config: Mapping[str, Any],
    data: DataSet,
    folder: Path,
    ckpt_path: Path | None,
    world: World,
    elapsed: Elapsed,
    interruption: Interruption,
    others: Processes,
    outcome: Outcome,
    pruning: PruningCallback | None,
    progress_bar: bool,
) -> dict[str, Any]:
    quiet()
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    batches = DataModule(data, config["seed"])
    splits = batches.splits
    module = make_module(config, splits.shape, len(splits.classes))
    module.description |= data.described()
    before = {} if ckpt_path is None else read_checkpoint(ckpt_path)
    module.elapsed = elapsed
    module.description["data_digest"] = data.digest()
    if config["resume"] is not None:
        elapsed.before = before.get("regtorch", {}).get("seconds", 0.0)
    if done := before.get("DataModule"):
        batches.load_state_dict(
            done
        )  # Lightning does so too, but under sharding only after it has requested the batches
    steps_before = before.get("global_step", 0)
    trainer = make_trainer(
        config, folder, splits.val is not None, world, interruption, steps_before, pruning, progress_bar
    )
    trainer.callbacks.append(SetResultsAside(outcome))  # type: ignore[attr-defined]
    parameters = sum(p.numel() for p in module.model.parameters())
    rules = bound_rules(config, module.penalties, module.constraints)
    facts = Facts(module.model, tuple(splits.shape), len(splits.train), splits.val is not None, world.ranks)
    ineffective = without_effect(config, facts)
    if ckpt_path is not None:
        check_resumable(config, module, before, ckpt_path)
    if world.rank == 0:
        check_disk_space(folder, module.model)
    outcome.begin()
    if world.rank == 0:
        same_run = config["resume"] is not None and config["ckpt_path"] is None
        if warning := restore_table(trainer.loggers, before.get("regtorch", {}), same_run):
            log.warning(warning)
        for line in ineffective:
            log.warning("%s", line)
        for advice in [*advise(config), *missing_classes(splits.train.y, splits.classes)]:
            log.info("advice: %s (%s)", advice["text"], advice["source"])
        for rule, bound_to in rules:
            log.info("%s", summary(rule, bound_to))
        log.info("%s with %d parameters, %d rows to train on", config["model"]["name"], parameters, len(splits.train))
    others.wait_until_ready(world)
    trainer.fit(module, datamodule=batches, ckpt_path=ckpt_path, weights_only=True)
    if interruption.signum is not None:
        raise Interrupted(interruption.signum)
    if pruning is not None and pruning.pruned is not None:
        raise pruning.pruned
    epochs = position(trainer).epochs
    names = ("loss", "data_loss", "penalty", "accuracy")
    train = {name: module.epoch_values[name] for name in names if name in module.epoch_values}

    best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    if ckpt_path is not None and world.rank == 0 and not last.exists():  # there was nothing to train
        copy_atomically(ckpt_path, last)
    trainer.strategy.barrier()
    if not trainer.strategy.broadcast(best.exists()):
        log.warning("training ended before the first validation, so best.ckpt is the last checkpoint")
        trainer.save_checkpoint(best)
    trained = make_module(
        config, splits.shape, len(splits.classes)
    )  # with complete weights, also after sharded training
    if config["trainer"]["precision"] in ("64-true", 64):
        trained = trained.double()
    content = load_weights(trained, best if config["evaluate"] == "best" else last)
    for penalty in trained.penalties:
        penalty.factor = content.get("regtorch", {}).get("factors", {}).get("penalty", 1.0)
    evaluator = make_evaluator(config, folder, world)
    batches.trainer = evaluator
    measured: dict[str, Any] = {"train_eval": _measure(evaluator, trained, batches.evaluation(splits.train))}
    measured["val"] = None if splits.val is None else _measure(evaluator, trained, batches.evaluation(splits.val))
    measured["test"] = _measure(evaluator, trained, batches.test_dataloader())
    measured["test_mc"] = _measure_mc(config, evaluator, trained, batches)
    return {
        "epochs": epochs,
        "parameters": parameters,
        "train": train,
        **measured,
        "sparsity": sparsity(trained.model),
        "rules": by_weight(rules),
        "without_effect": ineffective,
    }


def _measure(trainer: lightning.Trainer, module: Classifier, batches: Any) -> dict[str, float]:
    trainer.test(module, dataloaders=batches, verbose=False)
    for name, value in module.measured.items():
        if not isfinite(value):
            raise NonFiniteLossError(f"{name} of the trained network is {value}: its weights are too large")
    return module.measured


def _measure_mc(config: Mapping[str, Any], trainer: lightning.Trainer, module: Classifier, batches: DataModule) -> Any:
    mc = config["mc"]
    if mc["name"] == "none" or not has_noise(module.model, torch.zeros(2, *batches.splits.shape)):
        return None
    module.predictor = MCPredictor(module.model, samples=mc["samples"], tolerance=mc["tolerance"], seed=config["seed"])
    return {**_measure(trainer, module, batches.test_dataloader()), "samples": mc["samples"]}


def sparsity(model: nn.Module) -> float:
    """Return the share of the kernels' weights that are exactly zero."""
    kernels = [p.parameter for p in places(model) if is_kernel(p.module, p.attribute, p.parameter)]
    return float(sum((w == 0).sum() for w in kernels)) / max(1, sum(w.numel() for w in kernels))


def _versions() -> dict[str, str]:
    versions = {"python": python_version(), "regtorch": regtorch.__version__}
    for package in ("torch", "lightning", "torchmetrics", "torchvision", "hydra-core", "numpy"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def quiet() -> None:
    """Silence Lightning's hints, and, on a terminal, the log line per epoch, which the progress bar replaces."""
    if sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",
        "smaller than the logging",
        "exists and is not empty",
        "LeafSpec",
        "dirpath has",
        "WeightAveraging doesn't support sharding",  # the configuration is refused with sharding
        "dataloader is not resumable",  # it is: the sampler skips completed batches
        "sync_dist=True",  # logged values are combined over all processes already
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
