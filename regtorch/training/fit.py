"""Train the network of a run, on all of its processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning

from regtorch.data.base import DataSet
from regtorch.data.labels import missing_classes
from regtorch.registry.advice import advise
from regtorch.training.bound_rules import bound_rules, by_weight, summary
from regtorch.training.build import make_module, read_checkpoint
from regtorch.training.checkpoints import copy_atomically
from regtorch.training.classifier import Classifier
from regtorch.training.data_module import DataModule
from regtorch.training.disk_space import check_disk_space
from regtorch.training.epoch_table import restore_table
from regtorch.training.interruption import Interrupted, Interruption
from regtorch.training.no_effect import Facts, without_effect
from regtorch.training.outcome import Outcome, SetResultsAside
from regtorch.training.processes import World
from regtorch.training.progress import Elapsed, position
from regtorch.training.pruning import PruningCallback
from regtorch.training.resumable import check_resumable
from regtorch.training.trainer import make_trainer

log = logging.getLogger("regtorch")


@dataclass
class Training:
    """One training: what it needs, and what it has made so far.

    Args:
        config: a checked configuration, as plain containers.
        data: the data set.
        folder: the run's folder.
        ckpt_path: a checkpoint to start from.
        pruning: may end the training after an epoch.
        progress_bar: whether to show a progress bar on a terminal.
        world: the processes of the run.
        elapsed: the time of the run.
        interruption: records signals that end the training.
        outcome: the results.
    """

    config: Mapping[str, Any]
    data: DataSet
    folder: Path
    ckpt_path: Path | None
    pruning: PruningCallback | None
    progress_bar: bool
    world: World
    elapsed: Elapsed
    interruption: Interruption
    outcome: Outcome

    def fit(self, wait_until_ready: Callable[[World], None]) -> dict[str, Any]:
        """Train to the end.

        Args:
            wait_until_ready: waits until every process of the run can train.

        Returns:
            Facts about the training for ``results.json``.

        Raises:
            Interrupted: a signal ended the training.
            PrunedError: the pruner ended it.
        """
        self.batches = DataModule(self.data, self.config["seed"])
        before = {} if self.ckpt_path is None else read_checkpoint(self.ckpt_path)
        module = self._module(before)
        trainer = make_trainer(
            self.config, self.folder, self.batches.splits.val is not None, self.world, self.interruption,
            before.get("global_step", 0), self.pruning, self.progress_bar,
        )  # fmt: skip
        trainer.callbacks.append(SetResultsAside(self.outcome))  # type: ignore[attr-defined]
        about = self._begin(trainer, module, before)
        wait_until_ready(self.world)
        trainer.fit(module, datamodule=self.batches, ckpt_path=self.ckpt_path, weights_only=True)
        if self.interruption.signum is not None:
            raise Interrupted(self.interruption.signum)
        if self.pruning is not None and self.pruning.pruned is not None:
            raise self.pruning.pruned
        self._complete_checkpoints(trainer)
        names = ("loss", "data_loss", "penalty", "accuracy")
        train = {name: module.epoch_values[name] for name in names if name in module.epoch_values}
        return {"epochs": position(trainer).epochs, "parameters": about.pop("parameters"), "train": train, **about}

    def _module(self, before: Mapping[str, Any]) -> Classifier:
        """Build the module, with the state of the checkpoint that the training starts from."""
        splits = self.batches.splits
        module = make_module(self.config, splits.shape, len(splits.classes))
        module.description |= self.data.described()
        module.description["data_digest"] = self.data.digest()
        module.elapsed = self.elapsed
        if self.config["resume"] is not None:
            self.elapsed.before = before.get("regtorch", {}).get("seconds", 0.0)
        if done := before.get("DataModule"):
            # Lightning does so too, but under sharding only after it has requested the batches
            self.batches.load_state_dict(done)
        return module

    def _begin(self, trainer: lightning.Trainer, module: Classifier, before: Mapping[str, Any]) -> dict[str, Any]:
        """Check what only the built parts show, then remove or restore files of an earlier attempt, and log."""
        config, splits, first = self.config, self.batches.splits, self.world.rank == 0
        rules = bound_rules(config, module.penalties, module.constraints)
        facts = Facts(module.model, tuple(splits.shape), len(splits.train), splits.val is not None, self.world.ranks)
        ineffective = without_effect(config, facts)
        parameters = sum(p.numel() for p in module.model.parameters())
        if self.ckpt_path is not None:
            check_resumable(config, module, before, self.ckpt_path)
        if first:
            check_disk_space(self.folder, module.model)
        self.outcome.begin()
        if first:
            same_run = config["resume"] is not None and config["ckpt_path"] is None
            if warning := restore_table(trainer.loggers, before.get("regtorch", {}), same_run):
                log.warning(warning)
            for line in ineffective:
                log.warning("%s", line)
            for advice in [*advise(config), *missing_classes(splits.train.y, splits.classes)]:
                log.info("advice: %s (%s)", advice["text"], advice["source"])
            for rule, bound_to in rules:
                log.info("%s", summary(rule, bound_to))
            of_rows = "%s with %d parameters, %d rows to train on"
            log.info(of_rows, config["model"]["name"], parameters, len(splits.train))
        return {"parameters": parameters, "rules": by_weight(rules), "without_effect": ineffective}

    def _complete_checkpoints(self, trainer: lightning.Trainer) -> None:
        """Write the checkpoints that a training without steps or without a validation lacks."""
        best, last = (self.folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        if self.ckpt_path is not None and self.world.rank == 0 and not last.exists():  # there was nothing to train
            copy_atomically(self.ckpt_path, last)
        trainer.strategy.barrier()
        if not trainer.strategy.broadcast(best.exists()):
            log.warning("training ended before the first validation, so best.ckpt is the last checkpoint")
            trainer.save_checkpoint(best)
