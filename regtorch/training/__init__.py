"""Training with Lightning: the penalty in the loss, the constraints after each real optimizer step."""

from importlib import import_module as _import_module
from typing import Any as _Any

_HOMES = {
    "RegularizedModule": "regularized_module",
    "RegularizationCallback": "regularization_callback",
    "Classifier": "classifier",
    "NonFiniteLossError": "errors",
    "run": "run",
    "PredictedRows": "predicted_rows",
    "in_order": "predicted_rows",
}


def __getattr__(name: str) -> _Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regtorch.training' has no attribute {name!r}")
    return getattr(_import_module(f"regtorch.training.{_HOMES[name]}"), name)
