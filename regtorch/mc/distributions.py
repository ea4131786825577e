"""A prediction of classes as distributions one beneath the other: rows, or rows and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.output_transform import classes_at
from regtorch.mc.prediction import MCPrediction

#: uncertainties of a prediction of classes, higher where less is known; ``confidence`` is 1 minus the largest mean
UNCERTAINTIES = ("confidence", "predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio")


@dataclass(frozen=True)
class Distributions:
    """Distributions over classes, with what is uncertain about each.

    Args:
        mean: (distributions, classes), two classes of a binary prediction.
        uncertainties: name -> (distributions,).
    """

    mean: Tensor
    uncertainties: dict[str, Tensor]

    def where(self, kept: Tensor) -> Distributions:
        """Those that are kept, by a mask."""
        return Distributions(self.mean[kept], {name: value[kept] for name, value in self.uncertainties.items()})


def has_classes(prediction: MCPrediction) -> bool:
    """Whether a prediction is one of probabilities, not a regression."""
    return prediction.predictive_entropy is not None or prediction.variation_ratio is not None


def distributions(prediction: MCPrediction, class_dim: int | None) -> Distributions:
    """The distributions of a prediction: one a row of (rows, classes), one a pixel of (rows, classes, height, width).

    Args:
        prediction: of classes, or binary: one logit with a sigmoid.
        class_dim: the dimension of the classes, or None.

    Raises:
        SettingError: the prediction is not one of classes, has several independent labels a row, or holds NaN, which
            is neither certain nor uncertain.

    Example:
        >>> one = torch.tensor([[0.9, 0.1]])
        >>> prediction = MCPrediction(one, one * 0, one * 0, torch.ones(1), variation_ratio=torch.tensor([0.0]))
        >>> sorted(distributions(prediction, 1).uncertainties)
        ['confidence', 'variation_ratio']
    """
    check_is_prediction(prediction)
    if not has_classes(prediction):
        raise SettingError(
            "the prediction is not one of classes: it must be made with transform=softmax, or transform=sigmoid for "
            "one logit"
        )
    mean = prediction.mean
    dim = classes_at(mean.ndim, class_dim, tuple(mean.shape))
    mean = mean.reshape(-1, 1) if dim is None else mean.movedim(dim, -1).reshape(-1, mean.shape[dim])
    if mean.shape[1] == 1:
        mean = torch.cat([1 - mean, mean], 1)
    elif prediction.variation_ratio is None:
        raise SettingError(
            f"the prediction has {mean.shape[1]} independent labels a row (shape "
            f"{tuple(prediction.mean.shape)}): make it with class_dim=None for one binary prediction an entry"
        )
    confidence = 1 - mean.amax(1)
    found = {"confidence": confidence}
    found |= {name: v.reshape(-1) for name in UNCERTAINTIES[1:] if (v := getattr(prediction, name)) is not None}
    for name, value in found.items():
        if len(value) != len(mean):
            raise SettingError(
                f"class_dim={class_dim} is not allowed: the prediction's {name} has the shape "
                f"{tuple(getattr(prediction, name).shape)}, that of predictions made with another class_dim"
            )
        if value.isnan().any():
            row = int(value.isnan().nonzero()[0]) // max(1, len(mean) // len(prediction))
            raise SettingError(f"the prediction holds NaN: {name} of row {row}")
    return Distributions(mean, found)
