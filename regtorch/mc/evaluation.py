"""How good predictions are, and what their uncertainties are worth; torchmetrics where it has the measure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.class_labels import Labels, check_is_of_classes, class_labels
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.selective_prediction import selective_accuracy

#: uncertainties of a prediction of classes, higher where less is known; ``confidence`` is 1 minus the largest mean
UNCERTAINTIES = ("confidence", "predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio")
_BINS = 15


def uncertainties(prediction: MCPrediction) -> dict[str, Tensor]:
    """The uncertainties of each row by name, (rows,) each.

    Raises:
        SettingError: the prediction is not one of classes, or holds NaN, which is neither certain nor uncertain.

    Example:
        >>> one = torch.tensor([[0.9, 0.1]])
        >>> prediction = MCPrediction(one, one * 0, one * 0, torch.ones(1), variation_ratio=torch.tensor([0.0]))
        >>> sorted(uncertainties(prediction))
        ['confidence', 'variation_ratio']
    """
    check_is_of_classes(prediction)
    found = {"confidence": 1 - prediction.mean.amax(1) if len(prediction) else prediction.mean.sum(1)}
    found |= {name: getattr(prediction, name) for name in UNCERTAINTIES[1:]}
    found = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        if value.isnan().any():
            raise SettingError(f"the prediction holds NaN: {name} of row {int(value.isnan().nonzero()[0])}")
    return found


def evaluate(prediction: MCPrediction, labels: Labels) -> dict[str, float]:
    """Accuracy, NLL, Brier score and calibration error of the mean, and what each uncertainty is worth.

    Beside ``accuracy``, ``nll``, ``brier`` (0 to 2) and ``ece`` (15 bins), for each uncertainty ``U``:
    ``selective_area.U``, the mean accuracy of the most certain rows over all coverages, and
    ``misclassification_auroc.U``, the probability that a wrong row is less certain than a right one (nan where all
    rows are right or all are wrong).

    Args:
        prediction: of classes, (rows, classes).
        labels: (rows,) the classes' numbers.

    Raises:
        SettingError: no rows, labels that do not fit, or a prediction that is not one of classes or holds NaN.

    Source: torchmetrics; Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(regtorch.Dropout(drop_prob=0.5), torch.nn.Linear(4, 3))
        >>> out = regtorch.MCPredictor(model, samples=10)(torch.randn(20, 4))
        >>> sorted(evaluate(out, torch.randint(3, (20,))))[:4]
        ['accuracy', 'brier', 'ece', 'misclassification_auroc.confidence']
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

    found, labels = uncertainties(prediction), class_labels(labels, prediction)
    mean = prediction.mean.clamp(max=1)  # where rounding made it more, torchmetrics would take it for logits
    classes = mean.shape[1]
    correct = mean.argmax(1) == labels
    values = {
        "accuracy": float(multiclass_accuracy(mean, labels, classes, average="micro")),
        "nll": float(F.nll_loss(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), labels)),
        "brier": float((mean - F.one_hot(labels, classes)).square().sum(1).mean()),
        "ece": float(multiclass_calibration_error(mean, labels, classes, n_bins=_BINS)),
    }
    values |= {f"selective_area.{name}": selective_accuracy(correct, value).area for name, value in found.items()}
    values |= {f"misclassification_auroc.{name}": _auroc(value, ~correct) for name, value in found.items()}
    return values


def out_of_distribution_auroc(inside: MCPrediction, outside: MCPrediction) -> dict[str, float]:
    """The probability that a row from outside is less certain than one from inside, by each uncertainty.

    Args:
        inside: predictions for data like that of training.
        outside: predictions for other data.

    Raises:
        SettingError: one of them has no rows, is not a prediction of classes, or holds NaN.

    Source: Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples", 2017.

    Example:
        >>> sure, unsure = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
        >>> inside, outside = (MCPrediction(p, p, p, p[:, 0], variation_ratio=1 - p[:, 0]) for p in (sure, unsure))
        >>> out_of_distribution_auroc(inside, outside)
        {'confidence': 1.0, 'variation_ratio': 1.0}
    """
    check_is_prediction(inside, "inside")
    check_is_prediction(outside, "outside")
    if not len(inside) or not len(outside):
        raise SettingError("there are no rows: both predictions must have a row at least")
    one, other = uncertainties(inside), uncertainties(outside)
    wrong = torch.tensor([False] * len(inside) + [True] * len(outside))
    return {name: _auroc(torch.cat([one[name], other[name]]), wrong) for name in one if name in other}


def _auroc(uncertainty: Tensor, wrong: Tensor) -> float:
    from torchmetrics.functional.classification import binary_auroc

    if wrong.all() or not wrong.any():
        return float("nan")
    # ranks instead of values: torchmetrics takes scores outside 0 to 1 for logits, and rounds where they are close
    ranks = uncertainty.unique(return_inverse=True)[1].double()
    return float(binary_auroc(ranks / max(1.0, float(ranks.max())), wrong.to(uncertainty.device).long()))
