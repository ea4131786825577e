"""Classification: cross-entropy plus penalties, with metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.binding.scheduled import Scheduled
from regtorch.data.batches import DistributedBatchSampler
from regtorch.errors import DataError
from regtorch.mc import MCPredictor
from regtorch.schedules.base import Schedule
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.summed import summed
from regtorch.training.epoch_table import EpochTable
from regtorch.training.failure import NonFiniteLossError
from regtorch.training.interruption import is_distributed
from regtorch.training.metrics import EvaluationMetrics, Mean, TrainingMetrics
from regtorch.training.predicted_rows import PredictedRows, row_numbers
from regtorch.training.progress import position
from regtorch.training.random_state import random_state, set_random_state
from regtorch.training.regularized_module import RegularizedModule

log = logging.getLogger("regtorch")

#: builds a Lightning scheduler configuration for an optimizer, or None
SchedulerFactory = Callable[..., dict[str, Any] | None]


class Classifier(RegularizedModule):
    """Trains a network that returns logits (batch, classes) on batches ``(x, y)``.

    Logged at the end of each epoch: ``loss`` (data loss + penalty), ``data_loss``, ``penalty``, ``accuracy`` as
    trained (dropout on), and ``val_loss``, ``val_data_loss``, ``val_accuracy`` with dropout off.

    Args:
        model: returns logits.
        classes: number of classes.
        optimizer: builds the optimizer from the parameters; Adam by default.
        scheduler: called with the optimizer and ``total_steps=``, ``epochs=``, ``steps_per_epoch=``; returns a Lightning
            scheduler configuration or None.
        penalties: bound `WeightPenalty`s.
        constraints: bound `WeightConstraint`s.
        augmentation: applied to batches, in training only.
        penalty_schedule: multiplies all penalties by its factor; logged as ``penalty_factor``.
        dropout_schedule: multiplies the probabilities of all dropouts; logged as ``dropout_factor``. Predictions by the
            `predictor` of the trained model use the final probabilities; `Scheduled.restore` resets them.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: SchedulerFactory | None = None,
        penalties: Sequence[WeightPenalty] = (),
        constraints: Sequence[WeightConstraint] = (),
        augmentation: nn.Module | None = None,
        penalty_schedule: Schedule | None = None,
        dropout_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(model, penalties, constraints, log_loss=False)  # this class logs means over epochs
        self.schedules = {"penalty": penalty_schedule, "dropout": dropout_schedule}
        self._scheduled: dict[str, list[Scheduled]] = {}
        self.make_optimizer = optimizer or torch.optim.Adam
        self.make_scheduler = scheduler
        self.augmentation = augmentation
        self.training_metrics = TrainingMetrics(classes)
        self.validation_metrics = EvaluationMetrics(classes, full=False)
        self.test_metrics = EvaluationMetrics(classes)
        self.evaluation_penalty = Mean()
        #: predicts in the test and predict loops; None: one deterministic pass
        self.predictor: MCPredictor | None = None
        self._plateau: dict[str, Any] | None = None
        #: whether the last optimizer step was taken, not skipped by a ``GradScaler``
        self.stepped = True
        self._resume_state: dict[str, Any] | None = None
        #: training batches so far, over all epochs
        self.batches_seen = 0
        #: makes the training forward from the model, such as ``torch.compile``; None: the model itself
        self.make_forward: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None
        #: description of the model for checkpoints, as plain containers
        self.description: dict[str, Any] = {}
        #: returns the seconds that the run has taken
        self.elapsed: Callable[[], float] | None = None
        #: the last epoch's values, by name
        self.epoch_values: dict[str, float] = {}
        #: results of the last test loop
        self.measured: dict[str, float] = {}

    def configure_model(self) -> None:
        """Shard the model over the processes, if the Trainer's strategy does so: first its layers, then the rest."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not isinstance(self.model, FSDPModule):
            mesh = self.device_mesh["data_parallel"]  # type: ignore[index]
            for w in self.model.parameters():  # channels-last kernels cannot be sharded
                w.data = w.data.contiguous()
            for layer in self.model.modules():
                if layer is not self.model and next(layer.parameters(recurse=False), None) is not None:
                    fully_shard(layer, mesh=mesh)
            fully_shard(self.model, mesh=mesh)

    def configure_optimizers(self) -> Any:
        """Make the optimizer, and the scheduler if there is one."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        schedule = self.make_scheduler(
            optimizer, total_steps=steps, epochs=epochs, steps_per_epoch=max(1, steps // epochs)
        )
        self._plateau = None
        if schedule is not None and isinstance(schedule["scheduler"], ReduceLROnPlateau):
            # Lightning would step it after the epoch's checkpoint is written, which would then lack that step
            self._plateau, schedule = schedule, None
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a learning-rate schedule, except for a step that a ``GradScaler`` skipped."""
        by_step = any(c.scheduler is scheduler and c.interval == "step" for c in self.trainer.lr_scheduler_configs)
        if not by_step or self.stepped:
            super().lr_scheduler_step(scheduler, metric)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Assume that the step is skipped until `on_after_optimizer_step` runs."""
        self.stepped = False

    def on_after_optimizer_step(self, optimizer: Optimizer) -> None:
        """Advance the schedules, because the step was taken."""
        super().on_after_optimizer_step(optimizer)
        self.stepped = True
        for scheduled in self._scheduled.values():
            for target in scheduled:
                target.advance()

    def on_train_start(self) -> None:
        """Restore the checkpoint's state, including random states; each process has its own random numbers."""
        super().on_train_start()
        self._bind_schedules()
        if self.trainer.world_size > 1:
            of_rank = np.random.SeedSequence([torch.initial_seed() % 2**32, self.global_rank]).generate_state(1)
            lightning.seed_everything(int(of_rank[0]), verbose=False)
        if self._resume_state is not None:
            self._restore(self._resume_state)
            self._resume_state = None

    def _bind_schedules(self) -> None:
        targets: dict[str, list[Any]] = {"penalty": self.penalties, "dropout": [self.model]}
        for scheduled in self._scheduled.values():
            for target in scheduled:
                target.restore()
        self._scheduled = {
            kind: [
                Scheduled(target, schedule, int(self.trainer.estimated_stepping_batches)) for target in targets[kind]
            ]
            for kind, schedule in self.schedules.items()
            if schedule is not None
        }

    def _factors(self) -> dict[str, float]:
        return {kind: scheduled[0].factor for kind, scheduled in self._scheduled.items() if scheduled}

    def _restore(self, saved: dict[str, Any]) -> None:
        """Restore a checkpoint's state; Lightning loads the checkpoint before the optimizers exist."""
        if self._plateau is not None and saved.get("plateau"):
            self._plateau["scheduler"].load_state_dict(saved["plateau"])
        for kind, scheduled in self._scheduled.items():
            for target in scheduled:
                target.load_state_dict({"steps_taken": saved.get("steps_taken", {}).get(kind, 0)})
        if len(saved.get("ranks", [])) == self.trainer.world_size:
            own = saved["ranks"][self.global_rank]
            self.training_metrics.restore(own["training_metrics"])
            set_random_state(own["random"])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the cross-entropy of the batch plus the penalty."""
        x, y = batch
        if self.augmentation is not None:
            x = self.augmentation(x)
        logits = self._forward(x)
        data_loss = nn.functional.cross_entropy(widened(logits), y)
        penalty = self.penalty()
        self.batches_seen += 1
        own, weight = self._share(batch_idx)
        if own:
            self.training_metrics.add(self.batches_seen, data_loss, penalty, logits, y)
        if weight != 1:  # penalties of activities are weighted like their rows, penalties of weights are not
            data_loss, penalty = (
                data_loss * weight,
                penalty + (weight - 1) * self._penalty_of_activities().to(penalty.device),
            )
        return self.regularized(data_loss, batch_idx, penalty)

    def _penalty_of_activities(self) -> Tensor:
        values = [value for penalty in self.penalties if (value := penalty.activity_part()) is not None]
        return summed(values) if values else torch.zeros((), dtype=torch.float32, device=self.device)

    @property
    def _forward(self) -> Callable[[Tensor], Tensor]:
        if self.make_forward is None:
            return self.model
        if "_compiled" not in self.__dict__:  # as a submodule, it would be in the state_dict a second time
            self.__dict__["_compiled"] = self.make_forward(self.model)
        compiled: Callable[[Tensor], Tensor] = self.__dict__["_compiled"]
        return compiled

    def _share(self, batch_idx: int) -> tuple[int, float]:
        """Return how many rows of this batch count, and the weight of its mean loss.

        With these weights, an accumulation window on any number of processes gives the mean over its rows: smaller
        batches, on this process or on all of them, count less.
        """
        dealt = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        if not isinstance(dealt, DistributedBatchSampler):
            return 1, 1.0
        every, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        own, together = dealt.share(batch_idx)
        first = batch_idx // every * every
        window = range(first, min(first + every, batches))
        full = dealt.world_size * dealt.batch_size
        in_window = together if len(window) == 1 else sum(min(full, dealt.share(i)[1]) for i in window)
        return own, own * dealt.world_size * len(window) / in_window

    def on_train_epoch_end(self) -> None:
        """Log the epoch's values, one row for training and validation together."""
        self.training_metrics.flush(self.batches_seen)
        values = self.training_metrics.compute()
        self._check_finite()  # before the checkpoints are written, so that they stay valid
        self.log_dict(values, logger=False)
        self.epoch_values = {**self.epoch_values, **values}
        rates = {"lr": self.trainer.optimizers[0].param_groups[0]["lr"]}
        factors = {f"{kind}_factor": factor for kind, factor in self._factors().items()}
        for logger in self.loggers:
            logger.log_metrics(
                {"epoch": self.current_epoch + 1, **self.epoch_values, **rates, **factors}, step=self.global_step
            )
        described = "  ".join(f"{name} {value:.4g}" for name, value in self.epoch_values.items())
        if self.trainer.is_global_zero:
            log.info("epoch %d/%s  %s", self.current_epoch + 1, self.trainer.max_epochs, described)
        if self._plateau is not None:
            self._plateau["scheduler"].step(self.epoch_values[self._plateau["monitor"]])

    def _check_finite(self) -> None:
        wrong = [
            name for name, w in self.model.state_dict().items() if w.is_floating_point() and not w.isfinite().all()
        ]
        values = {name: value for name, value in self.epoch_values.items() if not isfinite(value)}
        if wrong or values:
            what = ", ".join(wrong[:3]) or ", ".join(f"{name}={value}" for name, value in values.items())
            finite = self.training_metrics.last_finite
            raise NonFiniteLossError(
                f"{what} became NaN or infinite by step {self.batches_seen}; the last finite values were {finite}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's description and the state for resuming to a checkpoint; called on all processes."""
        self.training_metrics.flush(self.batches_seen)
        now = position(self.trainer)
        own = {"random": random_state(), "training_metrics": self.training_metrics.sums() if now.within_epoch else {}}
        checkpoint["regtorch"] = {
            **self.description,
            "epochs": now.epochs,
            "batches": now.batches,
            "batches_seen": self.batches_seen,
            "epoch_values": dict(self.epoch_values),
            "table": next((logger.columns() for logger in self.loggers if isinstance(logger, EpochTable)), None),
            "seconds": 0.0 if self.elapsed is None else self.elapsed(),
            "plateau": None if self._plateau is None else self._plateau["scheduler"].state_dict(),
            "steps_taken": {kind: scheduled[0].steps_taken for kind, scheduled in self._scheduled.items() if scheduled},
            "factors": self._factors(),
            "ranks": _gathered(own),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the state for resuming from a checkpoint.

        Raises:
            DataError: it was written in the middle of an epoch by another number of processes.
        """
        # otherwise Lightning loads the weights first, and rounds float64 weights
        self.trainer.precision_plugin.convert_module(self)
        saved = checkpoint.get("regtorch", {})
        self.batches_seen = saved.get("batches_seen", 0)
        self.epoch_values = dict(saved.get("epoch_values", {}))
        of_ranks, ranks = len(saved.get("ranks", [])), self.trainer.world_size
        if saved.get("batches") and of_ranks != ranks:
            raise DataError(
                f"the checkpoint was written in the middle of an epoch by {of_ranks} processes, but there are {ranks} now; "
                f"take trainer.devices={of_ranks}"
            )
        self._resume_state = saved

    def on_validation_start(self) -> None:
        """Broadcast the buffers of rank 0, which are in its checkpoint: DDP does so, sharding does not."""
        if isinstance(self.model, FSDPModule):
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Evaluate with dropout off."""
        x, y = batch
        own = self._own_rows(batch_idx, y, self.trainer.val_dataloaders)
        self.validation_metrics.update(self.model(x).float().log_softmax(1)[:own], y[:own])
        self._note_penalty(own)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_loss``, ``val_data_loss`` and ``val_accuracy``."""
        values = self._with_loss(self.validation_metrics.compute())
        logged = {"val_loss": values["loss"], "val_data_loss": values["nll"], "val_accuracy": values["accuracy"]}
        self.log_dict(logged, logger=False)
        self.epoch_values = {**self.epoch_values, **logged}

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Evaluate with dropout off, or with the predictor if there is one."""
        x, y = batch
        own = self._own_rows(batch_idx, y, self.trainer.test_dataloaders)
        if self.predictor is None:
            log_probabilities = self.model(x).float().log_softmax(1)
        else:
            log_probabilities = self.predictor(x).mean.clamp_min(torch.finfo(torch.float32).tiny).log()
            if any(penalty.of_activities for penalty in self.penalties):
                self.model(x)  # the penalty needs the activities of a pass without dropout
        self.test_metrics.update(log_probabilities[:own], y[:own])
        self._note_penalty(own)

    def on_test_epoch_end(self) -> None:
        """Store the results."""
        self.measured = self._with_loss(self.test_metrics.compute())

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> PredictedRows:
        """Predict a batch (x, y) or x: probabilities with dropout off, or the predictor's moments if there is one.

        The predictor switches dropout on itself; Lightning has set the model to eval mode.
        """
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        numbers = row_numbers(self.trainer, batch_idx, dataloader_idx)
        if self.predictor is None:
            return PredictedRows(numbers, self.model(x).float().softmax(1))
        first_row = 0 if numbers is None or not len(numbers) else self._row_of_all(int(numbers[0]))
        return PredictedRows(numbers, self.predictor.from_row(first_row, x))

    def _row_of_all(self, row: int) -> int:
        """Return the global number of a local row, if the data module lists the rows of this process."""
        own = getattr(getattr(self.trainer, "datamodule", None), "rows", None)
        return row if own is None else int(own[row])

    @staticmethod
    def _own_rows(batch_idx: int, y: Tensor, batches: Any) -> int:
        """Return how many rows of a batch count on this process; 0 for a last batch whose rows other processes have."""
        dealt = getattr(batches, "batch_sampler", None)
        return dealt.share(batch_idx)[0] if isinstance(dealt, DistributedBatchSampler) else len(y)

    def _note_penalty(self, rows: int) -> None:
        # penalties of activities differ between batches; penalties of weights do not, and may be expensive
        if not self.evaluation_penalty.update_called or any(penalty.of_activities for penalty in self.penalties):
            self.evaluation_penalty.update(self.penalty(), rows)

    def _with_loss(self, values: dict[str, float]) -> dict[str, float]:
        penalty = float(self.evaluation_penalty.compute())
        self.evaluation_penalty.reset()
        return {"accuracy": values.pop("accuracy"), "loss": values["nll"] + penalty, **values}


def _gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    """Gather the objects of all processes, in the order of their ranks."""
    if not is_distributed():
        return [own]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    return gathered
