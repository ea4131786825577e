"""One training run: from a checked configuration to a folder with checkpoints, metrics and results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import lightning.pytorch as lightning

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.labels import missing_classes
from regtorch.errors import as_one_line
from regtorch.registry.advice import advise
from regtorch.registry.user_script import user_script
from regtorch.system.files import remove_unfinished
from regtorch.training.failure import explain
from regtorch.training.fit import Training
from regtorch.training.interruption import SECONDS_TO_STOP, Interruption
from regtorch.training.measure import measure
from regtorch.training.outcome import Outcome
from regtorch.training.processes import World, launched, processes
from regtorch.training.progress import Elapsed
from regtorch.training.pruning import PruningCallback
from regtorch.training.quiet import quiet
from regtorch.training.subnormals import flush_subnormals
from regtorch.training.threads import threads_without_tracebacks
from regtorch.training.trainer import device_count

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
    context = _context(config, data, overrides)
    world = launched()
    count = 1 if world is not None else device_count(config["trainer"])
    first = world is None or world.rank == 0
    task = _task(config, folder, ckpt_path, overrides, pruning)
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
            training = Training(
                config, data, folder, ckpt_path, pruning, progress_bar, world or World(0, count, count), elapsed,
                interruption, outcome,
            )  # fmt: skip
            try:
                quiet()
                lightning.seed_everything(config["seed"], workers=True, verbose=False)
                measured = training.fit(others.wait_until_ready)
                measured |= measure(config, folder, training.world, training.batches)
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


def _context(config: Mapping[str, Any], data: DataSet, overrides: Sequence[str]) -> dict[str, Any]:
    """What ``results.json`` has at any outcome."""
    splits = data.load()
    return {
        "advice": [*advise(config), *missing_classes(splits.train.y, splits.classes)],
        "versions": _versions(),
        "overrides": list(overrides),
        "class_names": list(splits.classes),
        "output_transform": "softmax",  # converts the logits
    }


def _task(
    config: Mapping[str, Any],
    folder: Path,
    ckpt_path: Path | None,
    overrides: Sequence[str],
    pruning: PruningCallback | None,
) -> dict[str, Any]:
    """What the other processes of the run need."""
    return {
        "config": config,
        "folder": str(folder),
        "ckpt_path": None if ckpt_path is None else str(ckpt_path),
        "overrides": list(overrides),
        "pruning": pruning is not None,
        "user_script": None if (script := user_script()) is None else asdict(script),
    }


def _versions() -> dict[str, str]:
    versions = {"python": python_version(), "regtorch": regtorch.__version__}
    for package in ("torch", "lightning", "torchmetrics", "torchvision", "hydra-core", "numpy"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
