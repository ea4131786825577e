"""How good predictions are, and what their uncertainties are worth; torchmetrics where it has the measure."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.calibration import adaptive_calibration_error, calibration_error
from regtorch.mc.class_labels import Labels, labels_of_classes
from regtorch.mc.distributions import Distributions, distributions, has_classes
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.regression import evaluate_regression
from regtorch.mc.selective_prediction import aurc, coverage_at_risk, risk_at_coverage
from regtorch.settings import CLASS_DIM

#: the dimension that the prediction was made with
AsPredicted = Literal["as predicted"]


def evaluate(
    prediction: MCPrediction,
    labels: Labels,
    *,
    class_dim: int | AsPredicted | None = "as predicted",
    ignore_index: int | None = None,
    coverage: float = 0.8,
    risk: float = 0.05,
    interval: float = 0.95,
) -> dict[str, float]:
    """Scores of the mean, and what each uncertainty is worth.

    Of classes, one distribution a row of (rows, classes) or a pixel of (rows, classes, height, width), and of binary
    predictions (``transform="sigmoid"`` of one logit):

    - ``accuracy``, ``nll``, ``brier`` (0 to 2), ``ece`` and ``adaptive_calibration_error`` (15 bins each); of maps also
      ``mean_iou``, the mean over classes of intersection over union;
    - for each uncertainty ``U``: ``selective_area.U``, the mean accuracy of the most certain rows over all coverages,
      ``aurc.U``, 1 minus that, ``risk_at_coverage.U``, ``coverage_at_risk.U``, and ``misclassification_auroc.U``, the
      probability that a wrong row is less certain than a right one (nan where all rows are right or all are wrong);
    - ``aurc``, ``risk_at_coverage`` and ``coverage_at_risk`` without a name are those of the confidence.

    Of a regression (any other transform): ``rmse``, ``nll`` of a normal distribution with the predictive variance,
    ``coverage``, the share of targets in the central interval of that distribution, and ``width``, the mean width of
    the interval.

    Args:
        prediction: what an `MCPredictor` gives.
        labels: the classes' numbers, one for each distribution: (rows,) or (rows, height, width); of a regression the
            targets, in the shape of the mean.
        class_dim: the dimension of the classes in the mean, where it is not the one that the prediction was made with.
        ignore_index: a label of rows or pixels that do not count.
        coverage: share of the rows of ``risk_at_coverage``, above 0 to 1.
        risk: share of errors of ``coverage_at_risk``, from 0 to 1.
        interval: probability of a regression's central interval, above 0 and below 1.

    Raises:
        SettingError: no rows, labels that do not fit, or a prediction that has several labels a row or holds NaN.

    Source: torchmetrics; Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(regtorch.Dropout(drop_prob=0.5), torch.nn.Linear(4, 3))
        >>> out = regtorch.MCPredictor(model, samples=10)(torch.randn(20, 4))
        >>> list(evaluate(out, torch.randint(3, (20,))))[:5]
        ['accuracy', 'nll', 'brier', 'ece', 'adaptive_calibration_error']
    """
    check_is_prediction(prediction)
    if not has_classes(prediction):
        return evaluate_regression(prediction, labels, interval=interval)
    dim = _class_dim(prediction, class_dim)
    found = distributions(prediction, dim)
    numbers = labels_of_classes(labels, prediction, found.mean.shape[1], dim, ignore_index)
    if ignore_index is not None and bool((ignored := numbers == ignore_index).any()):
        found, numbers = found.where(~ignored), numbers[~ignored]
        if not len(numbers):
            raise SettingError(f"ignore_index={ignore_index} is not allowed: every label is {ignore_index}")
    scores = _scores(found.mean, numbers)
    if prediction.mean.ndim > 2:
        scores["mean_iou"] = _mean_iou(found.mean, numbers)
    return scores | _worth(found, numbers, coverage, risk)


def _class_dim(prediction: MCPrediction, class_dim: int | str | None) -> int | None:
    if isinstance(class_dim, str):
        if class_dim != "as predicted":
            CLASS_DIM.check("class_dim", class_dim)
        return prediction.class_dim
    CLASS_DIM.check("class_dim", class_dim)
    return class_dim


def _scores(mean: Tensor, labels: Tensor) -> dict[str, float]:
    """Scores of distributions (rows, classes)."""
    from torchmetrics.functional.classification import multiclass_accuracy

    classes = mean.shape[1]
    confidence, predicted = mean.clamp(max=1).max(1)  # rounding may have made it more
    correct = predicted == labels
    return {
        "accuracy": float(multiclass_accuracy(predicted, labels, classes, average="micro")),
        "nll": float(F.nll_loss(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), labels)),
        "brier": float((mean - F.one_hot(labels, classes)).square().sum(1).mean()),
        "ece": calibration_error(confidence, correct),
        "adaptive_calibration_error": adaptive_calibration_error(confidence, correct),
    }


def _mean_iou(mean: Tensor, labels: Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_jaccard_index

    return float(multiclass_jaccard_index(mean.argmax(1), labels, mean.shape[1]))


def _worth(found: Distributions, labels: Tensor, coverage: float, risk: float) -> dict[str, float]:
    """What the uncertainties tell of which rows are wrong."""
    correct = found.mean.argmax(1) == labels
    values: dict[str, Any] = {}
    for name, value in found.uncertainties.items():
        area = aurc(correct, value)
        values |= {
            f"selective_area.{name}": 1 - area,
            f"aurc.{name}": area,
            f"risk_at_coverage.{name}": risk_at_coverage(correct, value, coverage),
            f"coverage_at_risk.{name}": coverage_at_risk(correct, value, risk),
            f"misclassification_auroc.{name}": _auroc(value, ~correct),
        }
    for measure in ("aurc", "risk_at_coverage", "coverage_at_risk"):
        values[measure] = values[f"{measure}.confidence"]
    return values


def out_of_distribution_auroc(inside: MCPrediction, outside: MCPrediction) -> dict[str, float]:
    """The probability that a row from outside is less certain than one from inside, by each uncertainty.

    Of maps (rows, classes, height, width) each pixel counts as a row.

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
    one, other = (distributions(each, each.class_dim).uncertainties for each in (inside, outside))
    rows = [len(each["confidence"]) for each in (one, other)]
    wrong = torch.tensor([False] * rows[0] + [True] * rows[1])
    return {name: _auroc(torch.cat([one[name], other[name]]), wrong) for name in one if name in other}


def _auroc(uncertainty: Tensor, wrong: Tensor) -> float:
    from torchmetrics.functional.classification import binary_auroc

    if wrong.all() or not wrong.any():
        return float("nan")
    # ranks instead of values: torchmetrics takes scores outside 0 to 1 for logits, and rounds where they are close
    ranks = uncertainty.unique(return_inverse=True)[1].double()
    return float(binary_auroc(ranks / max(1.0, float(ranks.max())), wrong.to(uncertainty.device).long()))
