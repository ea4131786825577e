"""Calibration errors: how far confidence is from accuracy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from regtorch.errors import SettingError
from regtorch.settings import COUNT

#: bins of confidence, as in the literature
BINS = 15


def calibration_sums(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Tensor:
    """Rows, summed confidence and summed correctness of each bin of equal width, (3, bins).

    Bin i holds the confidences from ``i / bins`` to below ``(i + 1) / bins``; the last one holds 1 too.

    Args:
        confidence: (rows,) from 0 to 1.
        correct: (rows,) bool, or 0 and 1.
        bins: how many.

    Example:
        >>> calibration_sums(torch.tensor([0.2, 1.0]), torch.tensor([True, False]), bins=2)
        tensor([[1.0000, 1.0000],
                [0.2000, 1.0000],
                [1.0000, 0.0000]])
    """
    number = (confidence * bins).nan_to_num(0.0).long().clamp(0, bins - 1)  # rounding may put a confidence above 1
    values = torch.stack([torch.ones_like(confidence), confidence, correct.to(confidence.dtype)])
    return values @ F.one_hot(number, bins).to(confidence.dtype)


def error_of_sums(sums: Tensor) -> float:
    """The expected calibration error of the sums of `calibration_sums`."""
    rows, confidence, correct = sums
    return float((confidence - correct).abs().sum() / rows.sum().clamp(min=1))


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Expected calibration error (ECE): ``sum over bins of rows_b / rows * |accuracy_b - confidence_b|``.

    Bins have equal width; the last one includes confidence 1.

    Args:
        confidence: (rows,) probability of the predicted class, from 0 to 1.
        correct: (rows,) bool, whether the predicted class is the row's.
        bins: how many, >= 1.

    Raises:
        SettingError: no rows, shapes that differ, a confidence that is NaN, or a number of bins outside its range.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    Example:
        >>> calibration_error(torch.tensor([1.0, 0.75]), torch.tensor([True, False]))
        0.375
    """
    _check(confidence, correct, bins)
    return error_of_sums(calibration_sums(confidence.double(), correct.double(), bins))


def adaptive_calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Adaptive calibration error (ACE) of the predicted class: the calibration error over bins of equal count.

    ``sum over bins of rows_b / rows * |accuracy_b - confidence_b|``, with the rows sorted by confidence and cut into
    bins that hold equally many of them, up to one. Rows of equal confidence count as the mean of theirs, so that the
    order of the rows does not matter.

    Args:
        confidence: (rows,) probability of the predicted class, from 0 to 1.
        correct: (rows,) bool, whether the predicted class is the row's.
        bins: how many, >= 1.

    Raises:
        SettingError: no rows, shapes that differ, a confidence that is NaN, or a number of bins outside its range.

    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language processing models",
    2015; Nixon, Dusenberry, Zhang, Jerfel and Tran, "Measuring calibration in deep learning", 2019.

    Example:
        >>> adaptive_calibration_error(torch.tensor([1.0, 0.75, 0.5, 0.5]), torch.tensor([True, False, True, False]), bins=2)
        0.1875
    """
    _check(confidence, correct, bins)
    values, group = confidence.double().unique(sorted=True, return_inverse=True)
    size = torch.bincount(group).double()
    right = torch.bincount(group, weights=correct.double(), minlength=len(size)) / size
    gap = (values - right)[group.sort().values]
    return float(sum(part.sum().abs() for part in gap.tensor_split(min(bins, len(gap)))) / len(gap))


def _check(confidence: Tensor, correct: Tensor, bins: int) -> None:
    COUNT.check("bins", bins)
    if confidence.shape != correct.shape or confidence.ndim != 1 or len(confidence) == 0:
        shapes = f"confidence has shape {tuple(confidence.shape)}, correct {tuple(correct.shape)}"
        raise SettingError(f"{shapes}: both must be (rows,) with a row at least")
    if confidence.isnan().any():
        raise SettingError("confidence holds NaN, which is in no bin")
