"""How good the predictions of a regression are, and how honest their intervals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.class_labels import Labels, as_tensor
from regtorch.mc.prediction import MCPrediction
from regtorch.settings import INSIDE_ZERO_ONE


def evaluate_regression(prediction: MCPrediction, targets: Labels, *, interval: float = 0.95) -> dict[str, float]:
    """RMSE and NLL of the targets, coverage and mean width of central intervals.

    The predictive distribution of each entry is taken as normal with the prediction's mean m and variance v, which
    holds the noise of the targets where the model or ``noise_variance=`` tells it: ``nll`` is the mean of
    ``(log(2 pi v) + (y - m)^2 / v) / 2``, and the interval is ``m +- z sqrt(v)`` with z from the normal distribution.

    Args:
        prediction: of numbers, not of classes.
        targets: in the shape of the mean; (rows,) will do for (rows, 1).
        interval: probability of the central interval, above 0 and below 1.

    Returns:
        ``rmse``, ``nll`` (nats), ``coverage`` (the share of targets in their intervals; `interval` where the variances
        are honest) and ``width``.

    Raises:
        SettingError: no rows, targets that do not fit or are no finite numbers, or an interval outside its range.

    Source: Gneiting, Balabdaoui and Raftery, "Probabilistic forecasts, calibration and sharpness", 2007.

    Example:
        >>> m, v = torch.zeros(2, 1), torch.ones(2, 1)
        >>> scores = evaluate_regression(MCPrediction(m, v, v, torch.ones(2)), torch.tensor([0.0, 3.0]))
        >>> scores["coverage"], round(scores["width"], 2)
        (0.5, 3.92)
    """
    check_is_prediction(prediction)
    INSIDE_ZERO_ONE.check("interval", interval)
    mean, variance = prediction.mean.double(), prediction.variance.double()
    difference = mean - _fitting(targets, mean)
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(interval, dtype=torch.float64)))
    half = z * variance.sqrt()
    likely = variance.clamp_min(torch.finfo(torch.float64).tiny)
    nll = (torch.log(2 * math.pi * likely) + difference.square() / likely) / 2
    return {
        "rmse": float(difference.square().mean().sqrt()),
        "nll": float(nll.mean()),
        "coverage": float((difference.abs() <= half).double().mean()),
        "width": float(2 * half.mean()),
    }


def _fitting(targets: Labels, mean: Tensor) -> Tensor:
    values = as_tensor(targets, mean, "numbers")
    if not len(mean):
        raise SettingError("there are no rows: the prediction must have a row at least")
    if mean.shape[1:].numel() == 1 and values.shape == mean.shape[:1]:
        values = values.reshape(mean.shape)
    if mean.ndim == 1 and values.shape == (len(mean), 1):
        values = values[:, 0]
    if values.shape != mean.shape:
        raise SettingError(
            f"labels of shape {tuple(values.shape)} do not fit a regression of shape {tuple(mean.shape)}: give targets of "
            "its shape, or make the prediction with transform=softmax or sigmoid if they are classes"
        )
    if values.is_complex() or not bool(values.double().isfinite().all()):
        raise SettingError("labels of a regression must be finite numbers")
    return values.double()
