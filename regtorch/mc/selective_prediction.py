"""Selective prediction: how right a model is about the rows it is most certain of; its risk is the share it gets wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.settings import PROBABILITY, Range

_COVERAGE = Range("a share of the rows, above 0 to 1", lambda v: PROBABILITY.holds(v) and v > 0)


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"SelectiveCurve({len(self.coverage)} rows: accuracy {self.accuracy[-1]:.4f}, area {self.area:.4f})"


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


def aurc(correct: Tensor, uncertainty: Tensor) -> float:
    """Area under the risk-coverage curve: the mean risk of the k most certain rows over all k; lower is better.

    ``mean over k of errors among the k most certain / k``, which is 1 minus the area of `selective_accuracy`.

    Args:
        correct: (rows,) bool, whether each row's prediction is right.
        uncertainty: (rows,) higher means less certain.

    Raises:
        SettingError: no rows, shapes that differ, or an uncertainty that is NaN.

    Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", 2019.

    Example:
        >>> aurc(torch.tensor([True, False]), torch.tensor([0.1, 0.9]))
        0.25
    """
    return 1 - selective_accuracy(correct, uncertainty).area


def risk_at_coverage(correct: Tensor, uncertainty: Tensor, coverage: float = 0.8) -> float:
    """The share of errors among the most certain rows, as many as the coverage asks for; lower is better.

    Args:
        correct: (rows,) bool, whether each row's prediction is right.
        uncertainty: (rows,) higher means less certain.
        coverage: share of the rows that are predicted, above 0 to 1; rounded up to a number of rows.

    Raises:
        SettingError: no rows, shapes that differ, an uncertainty that is NaN, or a coverage outside its range.

    Source: Geifman and El-Yaniv, "Selective classification for deep neural networks", 2017.

    Example:
        >>> risk_at_coverage(torch.tensor([True, True, False, False]), torch.tensor([0.1, 0.2, 0.3, 0.9]), coverage=0.75)
        0.33333333333333337
    """
    _COVERAGE.check("coverage", coverage)
    curve = selective_accuracy(correct, uncertainty)
    rows = math.ceil(coverage * len(curve.accuracy) - 1e-9)  # 0.07 * 100 is a little more than 7
    return float(1 - curve.accuracy[max(rows, 1) - 1])


def coverage_at_risk(correct: Tensor, uncertainty: Tensor, risk: float = 0.05) -> float:
    """The largest share of the rows that can be predicted with no more than this share of errors; higher is better.

    Args:
        correct: (rows,) bool, whether each row's prediction is right.
        uncertainty: (rows,) higher means less certain.
        risk: the share of errors that is allowed, from 0 to 1.

    Returns:
        From 0, where even the most certain row is too risky, to 1.

    Raises:
        SettingError: no rows, shapes that differ, an uncertainty that is NaN, or a risk outside its range.

    Source: Geifman and El-Yaniv, "Selective classification for deep neural networks", 2017.

    Example:
        >>> coverage_at_risk(torch.tensor([True, True, False, False]), torch.tensor([0.1, 0.2, 0.3, 0.9]), risk=0.4)
        0.75
    """
    PROBABILITY.check("risk", risk)
    curve = selective_accuracy(correct, uncertainty)
    allowed = curve.coverage[1 - curve.accuracy <= risk + 1e-12]
    return float(allowed.max()) if len(allowed) else 0.0
