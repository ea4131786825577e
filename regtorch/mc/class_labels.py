"""Labels that belong to a prediction of classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.output_transform import classes_at
from regtorch.mc.prediction import MCPrediction
from regtorch.settings import shown

Labels = Tensor | NDArray[Any]


def check_is_of_classes(prediction: MCPrediction) -> None:
    """Raise unless each row of the prediction is one distribution over classes.

    Raises:
        SettingError: it is not.
    """
    check_is_prediction(prediction)
    if prediction.mean.ndim != 2 or prediction.variation_ratio is None or prediction.mean.shape[1] < 2:
        raise SettingError(
            "the prediction is not one of classes: it must be made with transform=softmax and have the shape "
            f"(rows, classes), and has {tuple(prediction.mean.shape)}"
        )


def class_labels(labels: Labels, prediction: MCPrediction) -> Tensor:
    """The labels as torch indexes with them, (rows,) of int64 beside the prediction.

    Args:
        labels: (rows,) the classes' numbers, a tensor or an array of any integer type.
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
    return labels_of_classes(labels, prediction, prediction.mean.shape[1])


def labels_of_classes(
    labels: Labels, prediction: MCPrediction, classes: int, class_dim: int | None = 1, ignore_index: int | None = None
) -> Tensor:
    """The labels of a prediction of classes, rows and pixels in one dimension, of int64 beside the prediction.

    Args:
        labels: one for each distribution, (rows,) or (rows, height, width), of any integer type; of binary predictions
            also in the shape of the prediction, and 0.0 and 1.0.
        prediction: of classes.
        classes: how many; 2 of binary predictions.
        class_dim: the dimension of the classes in the prediction.
        ignore_index: a label that may be there besides, of what is not to be counted.

    Raises:
        SettingError: no rows, or labels that do not fit.
    """
    mean = prediction.mean
    values = as_tensor(labels, mean, "integers")
    if not len(mean):
        raise SettingError("there are no rows: the prediction must have a row at least")
    dim = classes_at(mean.ndim, class_dim, tuple(mean.shape))
    binary = dim is None or mean.shape[dim] == 1
    wanted = tuple(size for place, size in enumerate(mean.shape) if place != dim)
    if binary and values.shape == mean.shape:
        values = values.reshape(wanted)
    if values.shape != wanted:
        each = f"{len(mean)} predicted rows" if len(wanted) == 1 else f"predictions of shape {tuple(mean.shape)}"
        raise SettingError(
            f"labels of shape {tuple(values.shape)} do not fit {each}: give one for each, of shape {wanted}"
        )
    integers = values.long()  # before anything else: torch can do little with unsigned types
    floats = values.is_floating_point() or values.is_complex()
    if floats and not (binary and bool((values == integers).all())):
        raise SettingError(f"labels must be integers from 0 to {classes - 1}, and are of type {values.dtype}")
    outside = (integers < 0) | (integers >= classes)
    if ignore_index is not None:
        outside &= integers != ignore_index
    if outside.any():
        place = tuple(outside.nonzero()[0].tolist())
        at = f"row {place[0]}" if len(place) == 1 else f"row {place[0]} at {place[1:]}"
        more = f"; ignore_index={integers[place]} leaves such out" if len(place) > 1 else ""
        raise SettingError(
            f"labels must be integers from 0 to {classes - 1}, and that of {at} is {integers[place]}{more}"
        )
    return integers.reshape(math.prod(wanted))


def as_tensor(labels: Any, beside: Tensor, of: str) -> Tensor:
    """Labels or targets as a tensor on the device of a prediction.

    Raises:
        SettingError: they are no numbers.
    """
    try:
        return torch.as_tensor(labels, device=beside.device)
    except (TypeError, ValueError, RuntimeError) as error:
        given = shown(labels) if isinstance(labels, str) else type(labels).__name__
        raise SettingError(f"labels={given} is not allowed: it must be a tensor or an array of {of}") from error
