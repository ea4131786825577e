"""Selective prediction: how right a model is about the rows it is most certain of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regtorch.errors import SettingError


@dataclass(frozen=True)
class SelectiveCurve:
    """Accuracy against coverage.

    Args:
        coverage: (rows,) shares of the rows that are predicted, from 1/rows to 1.
        accuracy: (rows,) the accuracy among the most certain rows at each coverage.
        area: mean of `accuracy` over all coverages; higher is better.

    Example:
        >>> curve = selective_accuracy(torch.tensor([True, False]), torch.tensor([0.1, 0.9]))
        >>> curve.coverage.tolist(), curve.area
        ([0.5, 1.0], 0.75)
    """

    coverage: Tensor
    accuracy: Tensor
    area: float


def selective_accuracy(correct: Tensor, uncertainty: Tensor) -> SelectiveCurve:
    """The accuracy of the k most certain rows, for every k.

    Rows that are equally uncertain come in no order: among them the accuracy is that of the mean over all orders.

    Args:
        correct: (rows,) bool, whether each row's prediction is right.
        uncertainty: (rows,) higher means less certain.

    Raises:
        SettingError: no rows, shapes that differ, or an uncertainty that is NaN.

    Source: Geifman and El-Yaniv, "Selective classification for deep neural networks", 2017.

    Example:
        >>> selective_accuracy(torch.tensor([True, False, True]), torch.tensor([0.1, 0.9, 0.2])).accuracy
        tensor([1.0000, 1.0000, 0.6667], dtype=torch.float64)
    """
    if correct.shape != uncertainty.shape or correct.ndim != 1 or len(correct) == 0:
        shapes = f"correct has shape {tuple(correct.shape)}, uncertainty {tuple(uncertainty.shape)}"
        raise SettingError(f"{shapes}: both must be (rows,) with a row at least")
    if uncertainty.isnan().any():
        raise SettingError("uncertainty holds NaN, which has no place in an order")
    _, group = uncertainty.unique(sorted=True, return_inverse=True)
    size = torch.bincount(group).double()
    right = torch.bincount(group, weights=correct.double(), minlength=len(size))
    order = group.sort(stable=True).values
    share = (right / size)[order]  # a tied row counts as the mean of its ties
    count = torch.arange(1, len(correct) + 1, dtype=torch.float64, device=correct.device)
    accuracy = share.cumsum(0) / count
    return SelectiveCurve(count / len(correct), accuracy, float(accuracy.mean()))
