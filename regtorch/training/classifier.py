"""Classification: cross-entropy plus penalties, with the metrics that are worth comparing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.mc import MCPredictor
from regtorch.training.errors import NonFiniteLossError
from regtorch.training.metrics import EvaluationMetrics, Mean, TrainingMetrics
from regtorch.training.predicted_rows import PredictedRows, row_numbers
from regtorch.training.regularized_module import RegularizedModule

log = logging.getLogger("regtorch")

#: builds a Lightning scheduler configuration for an optimizer, or None
SchedulerFactory = Callable[..., dict[str, Any] | None]


class Classifier(RegularizedModule):
    """Trains a network that gives logits (batch, classes) on batches ``(x, y)``.

    Logged at the end of each epoch: ``loss`` (data loss + penalty), ``data_loss``, ``penalty``, ``accuracy`` as
    trained (dropout on), and ``val_loss``, ``val_data_loss``, ``val_accuracy`` with dropout off.

    Args:
        model: gives logits.
        classes: number of classes.
        optimizer: builds the optimizer from the parameters; Adam by default.
        scheduler: called with the optimizer and ``total_steps=``, ``epochs=``, ``steps_per_epoch=``; gives a Lightning
            scheduler configuration or None.
        penalties: bound `WeightPenalty`s.
        constraints: bound `WeightConstraint`s.
        augmentation: applied to whole batches, in training only.
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
    ) -> None:
        super().__init__(model, penalties, constraints)
        self.make_optimizer = optimizer or torch.optim.Adam
        self.make_scheduler = scheduler
        self.augmentation = augmentation
        self.training_metrics = TrainingMetrics(classes)
        self.validation_metrics = EvaluationMetrics(classes, full=False)
        self.test_metrics = EvaluationMetrics(classes)
        self.evaluation_penalty = Mean()
        #: predicts in the test and predict loops instead of one deterministic pass
        self.predictor: MCPredictor | None = None
        #: batches that were trained on, over all epochs
        self.batches_seen = 0
        #: what a checkpoint says of its model: plain containers
        self.description: dict[str, Any] = {}
        #: the last epoch's values, by name
        self.epoch_values: dict[str, float] = {}
        #: what the last test loop measured
        self.measured: dict[str, float] = {}

    def configure_optimizers(self) -> Any:
        """The optimizer, and the scheduler if there is one."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        schedule = self.make_scheduler(
            optimizer, total_steps=steps, epochs=epochs, steps_per_epoch=max(1, steps // epochs)
        )
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of the batch plus penalty."""
        x, y = batch
        if self.augmentation is not None:
            x = self.augmentation(x)
        logits = self.model(x)
        data_loss = nn.functional.cross_entropy(logits, y)
        penalty = self.penalty()
        self.batches_seen += 1
        self.training_metrics.add(self.batches_seen, data_loss, penalty, logits, y)
        return self.regularized(data_loss, batch_idx, penalty)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's values, one row for training and validation together."""
        self.training_metrics.flush(self.batches_seen)
        values = self.training_metrics.compute()
        self._check_finite()  # before the checkpoints are written, so that they stay good
        self.log_dict(values, logger=False)
        self.epoch_values = {**self.epoch_values, **values}
        rates = {"lr": self.trainer.optimizers[0].param_groups[0]["lr"]}
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch + 1, **self.epoch_values, **rates}, step=self.global_step)
        described = "  ".join(f"{name} {value:.4g}" for name, value in self.epoch_values.items())
        log.info("epoch %d/%s  %s", self.current_epoch + 1, self.trainer.max_epochs, described)

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
        """A checkpoint says what model it holds."""
        progress = {"epochs": self.current_epoch + 1, "batches_seen": self.batches_seen}
        checkpoint["regtorch"] = {**self.description, **progress}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on from where the checkpoint was."""
        self.batches_seen = checkpoint.get("regtorch", {}).get("batches_seen", 0)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure with dropout off."""
        x, y = batch
        self.validation_metrics.update(self.model(x).float().log_softmax(1), y)
        self._note_penalty(y)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_loss``, ``val_data_loss`` and ``val_accuracy``."""
        values = self._with_loss(self.validation_metrics.compute())
        logged = {"val_loss": values["loss"], "val_data_loss": values["nll"], "val_accuracy": values["accuracy"]}
        self.log_dict(logged, logger=False)
        self.epoch_values = {**self.epoch_values, **logged}

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure with dropout off, or by the predictor if there is one."""
        x, y = batch
        if self.predictor is None:
            log_probabilities = self.model(x).float().log_softmax(1)
        else:
            log_probabilities = self.predictor(x).mean.clamp_min(torch.finfo(torch.float32).tiny).log()
        self.test_metrics.update(log_probabilities, y)
        self._note_penalty(y)

    def on_test_epoch_end(self) -> None:
        """Keep what was measured."""
        self.measured = self._with_loss(self.test_metrics.compute())

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> PredictedRows:
        """Probabilities of a batch (x, y), or x alone, with dropout off, or the predictor's moments if there is one.

        The predictor switches dropout on for itself, as Lightning has put the model into eval mode by now.
        """
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        prediction = self.model(x).float().softmax(1) if self.predictor is None else self.predictor(x)
        return PredictedRows(row_numbers(self.trainer, batch_idx, dataloader_idx), prediction)

    def _note_penalty(self, y: Tensor) -> None:
        # an activity's penalty differs from batch to batch; that of weights is the same, and may be dear
        if not self.evaluation_penalty.update_called or any(penalty.of_activities for penalty in self.penalties):
            self.evaluation_penalty.update(self.penalty(), len(y))

    def _with_loss(self, values: dict[str, float]) -> dict[str, float]:
        penalty = float(self.evaluation_penalty.compute())
        self.evaluation_penalty.reset()
        return {"accuracy": values.pop("accuracy"), "loss": values["nll"] + penalty, **values}
