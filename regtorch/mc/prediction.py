"""What Monte Carlo prediction gives for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from regtorch.errors import SettingError


@dataclass(frozen=True)
class MCPrediction:
    """The moments of a batch's predictions, one row an example.

    Args:
        mean: (batch, ...) mean over the samples.
        std: (batch, ...) standard deviation over the samples (divided by their number, as ``numpy.std``).
        variance: (batch, ...) predictive variance: ``std**2``, plus what the model says of the noise in its targets
            (``transform="gaussian"``, ``noise_variance=``).
        samples_used: (batch,) number of samples of each row.
        predictive_entropy: (batch,) entropy of the mean, in nats; None unless the predictions are probabilities.
        expected_entropy: (batch,) mean entropy of the samples.
        mutual_information: (batch,) their difference: what the samples disagree about.
        variation_ratio: (batch,) share of the samples that do not vote for the class most of them vote for; None
            unless the predictions are probabilities of classes (``transform="softmax"``).
        samples: (samples, batch, ...) the samples themselves, where they were asked for, else None; NaN from where a
            row had stopped.
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

    def __len__(self) -> int:
        return len(self.mean)

    def to(self, device: torch.device | str) -> MCPrediction:
        """The same on another device."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in values.items()}
        return MCPrediction(**moved)

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
        for field in fields(MCPrediction):
            parts = [getattr(prediction, field.name) for prediction in predictions]
            joined[field.name] = None if parts[0] is None else torch.cat(parts, dim=int(field.name == "samples"))
        return MCPrediction(**joined)
