"""What Monte Carlo prediction gives for a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from regtorch.errors import SettingError


@dataclass(frozen=True, repr=False)
class MCPrediction:
    """The moments of a batch's predictions, one row an example.

    A prediction has one distribution for each entry of (batch, ...) without the dimension of the classes: one a row for
    (batch, classes), a map (batch, height, width) for (batch, classes, height, width).

    Args:
        mean: (batch, ...) mean over the samples.
        std: (batch, ...) standard deviation over the samples (divided by their number, as ``numpy.std``).
        variance: (batch, ...) predictive variance: ``std**2``, plus the noise in the targets that the model predicts
            (``transform="gaussian"``, ``noise_variance=``).
        samples_used: (batch,) number of samples of each row.
        predictive_entropy: entropy of the mean, in nats, one for each distribution; None unless the predictions are
            probabilities. With ``transform="sigmoid"`` the sum over the units in the dimension of the classes.
        expected_entropy: mean entropy of the samples, likewise.
        mutual_information: their difference: what the samples disagree about.
        variation_ratio: share of the samples that do not vote for the class most of them vote for; None unless the
            predictions are probabilities of classes (``transform="softmax"``, or ``"sigmoid"`` of one logit).
        samples: (samples, batch, ...) the samples themselves, where they were asked for, else None; NaN from where a
            row had stopped.
        class_dim: the dimension of the classes in (batch, ...); None: there is none.
    """

    mean: Tensor
    std: Tensor
    variance: Tensor
    samples_used: Tensor
    predictive_entropy: Tensor | None = None
    expected_entropy: Tensor | None = None
    mutual_information: Tensor | None = None
    variation_ratio: Tensor | None = None
    samples: Tensor | None = None
    class_dim: int | None = 1

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        used = self.samples_used
        samples = "" if not len(used) else f"{int(used.min())}"
        if len(used) and used.min() < used.max():
            samples += f" to {int(used.max())}"
        present = {name: value for name, value in self.tensors().items() if value is not None and value is not used}
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in present.items())
        return f"MCPrediction({len(self)} rows, {samples or 'no'} samples: {shapes})"

    def tensors(self) -> dict[str, Tensor | None]:
        """Name -> tensor, or None for what there is not."""
        return {name: getattr(self, name) for name in _tensors()}

    def mapped(self, function: Callable[[Tensor, int], Tensor]) -> MCPrediction:
        """The same with a function applied to each tensor and the number of its batch dimension."""
        made: dict[str, Any] = {
            name: None if value is None else function(value, _batch_dim(name)) for name, value in self.tensors().items()
        }
        return MCPrediction(**made, class_dim=self.class_dim)

    def to(self, device: torch.device | str) -> MCPrediction:
        """The same on another device."""
        return self.mapped(lambda values, _: values.to(device))

    @staticmethod
    def cat(predictions: Sequence[MCPrediction]) -> MCPrediction:
        """Predictions of several batches as one, in order.

        Raises:
            SettingError: there are none.

        Example:
            >>> one = MCPrediction(*[torch.zeros(2, 3)] * 3, samples_used=torch.ones(2))
            >>> len(MCPrediction.cat([one, one]))
            4
        """
        if not predictions:
            raise SettingError("there are no predictions to join: give one at least")
        joined: dict[str, Any] = {}
        for name in _tensors():
            parts = [getattr(prediction, name) for prediction in predictions]
            joined[name] = None if parts[0] is None else torch.cat(parts, dim=_batch_dim(name))
        return MCPrediction(**joined, class_dim=predictions[0].class_dim)


def _tensors() -> list[str]:
    return [field.name for field in fields(MCPrediction) if field.name != "class_dim"]


def _batch_dim(name: str) -> int:
    return int(name == "samples")  # the samples themselves are (samples, batch, ...)
