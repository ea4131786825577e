"""Metrics of an epoch, by torchmetrics, updated in blocks of batches so that small models are not slowed down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from regtorch.mc.calibration import BINS, calibration_sums, error_of_sums
from regtorch.training.failure import NonFiniteLossError


class Mean(Metric):
    """Weighted mean that propagates NaN. (torchmetrics' own drops either the NaNs or the weights.)"""

    total: Tensor
    weight: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, weights: Tensor | float = 1.0) -> None:
        """Add values with one weight per value, or one weight for all."""
        weights = torch.as_tensor(weights, dtype=torch.float64, device=values.device).expand(values.shape)
        self.total += (values.double() * weights).sum()
        self.weight += weights.sum()

    def compute(self) -> Tensor:
        """Return the mean so far."""
        return self.total / self.weight


class BrierScore(Mean):
    """Mean over examples of the squared distance between probabilities and the one-hot label, 0 to 2.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """

    def update(self, probabilities: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        """Add a batch of probabilities (batch, classes) and labels (batch,)."""
        one_hot = nn.functional.one_hot(labels, probabilities.shape[1])
        super().update((probabilities - one_hot).square().sum(1))


class CalibrationError(Metric):
    """Expected calibration error over 15 bins of equal width; the last one includes confidence 1."""

    sums: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_state("sums", torch.zeros((3, BINS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch of probabilities (batch, classes) and labels (batch,)."""
        confidence, predicted = probabilities.max(1)
        self.sums += calibration_sums(confidence.double(), predicted == labels)

    def compute(self) -> Tensor:
        """Return the error so far."""
        return torch.tensor(error_of_sums(self.sums))


class TrainingMetrics(nn.Module):
    """Loss, data loss, penalty and accuracy of the training batches.

    Args:
        classes: number of classes.
        block: number of batches per update of the metrics.
    """

    def __init__(self, classes: int, block: int = 64) -> None:
        super().__init__()
        self.block = block
        self.data_loss = Mean()
        self.penalty = Mean()
        self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self._batches: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.last_finite = "none"

    def add(self, step: int, data_loss: Tensor, penalty: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add the results of one batch; `step` is its number, counted from 1 over all epochs."""
        self._batches.append((data_loss.detach(), penalty.detach(), logits.detach(), labels))
        if len(self._batches) == self.block:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Update the metrics with the batches added so far.

        Raises:
            NonFiniteLossError: a batch's loss was NaN or infinite.
        """
        if not self._batches:
            return
        data_losses, penalties, logits, labels = zip(*self._batches, strict=True)
        self._batches = []
        of_data = torch.stack(data_losses).float()
        losses = torch.stack([of_data, torch.stack(penalties).to(of_data)], dim=1)
        self._check_finite(losses, step)
        rows = torch.tensor([len(y) for y in labels], dtype=torch.float32, device=losses.device)
        self.data_loss.update(losses[:, 0], rows)
        self.penalty.update(losses[:, 1], rows)
        self.accuracy.update(torch.cat(logits), torch.cat(labels))

    def _check_finite(self, losses: Tensor, step: int) -> None:
        finite = losses.isfinite().all(1)
        ok = int(finite.long().cumprod(0).sum())  # batches before the first non-finite one
        if ok:
            self.last_finite = _words(losses[ok - 1])
        if ok < len(losses):
            batch = step - len(losses) + ok + 1
            raise NonFiniteLossError(
                f"the loss became {_words(losses[ok])} in step {batch}; the last finite values were {self.last_finite}"
            )

    def running(self) -> dict[str, float]:
        """Return the last batch's loss, penalty and accuracy, for the progress bar."""
        if not self._batches:
            return {}
        data_loss, penalty, logits, labels = self._batches[-1]
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": float(data_loss + penalty), "penalty": float(penalty), "accuracy": float(accuracy)}

    def sums(self) -> dict[str, dict[str, Tensor]]:
        """Return the sums of this process so far, by metric and name."""
        return {
            name: {key: value.clone() for key, value in m.metric_state.items()} for name, m in self._by_name.items()
        }

    def restore(self, sums: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore the result of `sums`."""
        for name, state in sums.items():
            for key, value in state.items():
                setattr(self._by_name[name], key, value.to(self._by_name[name].device))

    @property
    def _by_name(self) -> dict[str, Any]:
        return {"data_loss": self.data_loss, "penalty": self.penalty, "accuracy": self.accuracy}

    def compute(self) -> dict[str, float]:
        """Return the means of the epoch so far, and reset."""
        data_loss, penalty = float(self.data_loss.compute()), float(self.penalty.compute())
        accuracy = float(self.accuracy.compute())
        for metric in self._by_name.values():
            metric.reset()
        return {"loss": data_loss + penalty, "data_loss": data_loss, "penalty": penalty, "accuracy": accuracy}


def _words(losses: Tensor) -> str:
    data_loss, penalty = losses.tolist()
    return f"data_loss={data_loss:.6g} penalty={penalty:.6g}"


class EvaluationMetrics(nn.Module):
    """Accuracy, NLL, Brier score and expected calibration error of predicted probabilities.

    Args:
        classes: number of classes.
        full: whether to compute the Brier score and the calibration error too.
        together: whether to combine the rows of all processes.
    """

    def __init__(self, classes: int, full: bool = True, together: bool = True) -> None:
        super().__init__()
        metrics: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False, sync_on_compute=together),
            "nll": Mean(sync_on_compute=together),
        }
        if full:
            metrics["brier"] = BrierScore(sync_on_compute=together)
            metrics["ece"] = CalibrationError(sync_on_compute=together)
        self.metrics = nn.ModuleDict(metrics)  # so that they move to the module's device
        self._by_name = metrics

    def update(self, log_probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch of log-probabilities (batch, classes) and labels (batch,)."""
        if not len(labels):
            return  # a process may have no rows
        nll = nn.functional.nll_loss(log_probabilities, labels)
        self._by_name["accuracy"].update(log_probabilities, labels)
        self._by_name["nll"].update(nll, len(labels))
        if "brier" in self._by_name:
            probabilities = log_probabilities.exp()
            self._by_name["brier"].update(probabilities, labels)
            self._by_name["ece"].update(probabilities, labels)

    def compute(self) -> dict[str, float]:
        """Return the values so far, and reset."""
        values = {name: float(metric.compute()) for name, metric in self._by_name.items()}
        for metric in self._by_name.values():
            metric.reset()
        return values
