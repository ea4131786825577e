"""Labels that belong to a prediction of classes."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.prediction import MCPrediction
from regtorch.settings import shown

Labels = Tensor | NDArray[Any]


def check_is_of_classes(prediction: MCPrediction) -> None:
    """Raise unless each row of the prediction is one distribution over classes.

    Raises:
        SettingError: it is not.
    """
    check_is_prediction(prediction)
    if prediction.mean.ndim != 2 or prediction.variation_ratio is None:
        raise SettingError("the prediction is not one of classes: it must be made with transform=softmax")


def class_labels(labels: Labels, prediction: MCPrediction) -> Tensor:
    """The labels as torch indexes with them, (rows,) of int64 beside the prediction.

    Args:
        labels: (rows,) the classes' numbers, a tensor or an array of any whole type.
        prediction: of classes, (rows, classes).

    Raises:
        SettingError: no rows, labels that do not fit, or a prediction that is not one of classes.

    Example:
        >>> mean = torch.tensor([[0.9, 0.1]])
        >>> prediction = MCPrediction(mean, mean, mean, torch.ones(1), variation_ratio=torch.zeros(1))
        >>> class_labels(torch.tensor([1], dtype=torch.uint8), prediction)
        tensor([1])
    """
    check_is_of_classes(prediction)
    rows, classes = prediction.mean.shape
    try:
        numbers = torch.as_tensor(labels, device=prediction.mean.device)
    except (TypeError, ValueError, RuntimeError) as error:
        given = shown(labels) if isinstance(labels, str) else type(labels).__name__
        raise SettingError(
            f"labels={given} is not allowed: it must be a tensor or an array of whole numbers"
        ) from error
    if rows == 0:
        raise SettingError("there are no rows: the prediction must have a row at least")
    if numbers.shape != (rows,):
        raise SettingError(
            f"labels of shape {tuple(numbers.shape)} do not fit {rows} predicted rows: give one for each"
        )
    whole = numbers.long()  # before anything else: torch can do little with unsigned types
    if numbers.is_floating_point() or numbers.is_complex():
        raise SettingError(f"labels must be whole numbers from 0 to {classes - 1}, and are of type {numbers.dtype}")
    outside = ((whole < 0) | (whole >= classes)).nonzero()[:, 0]
    if len(outside):
        row = int(outside[0])
        raise SettingError(
            f"labels must be whole numbers from 0 to {classes - 1}, and that of row {row} is {whole[row]}"
        )
    return whole
