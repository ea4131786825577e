"""Training with Lightning: the penalty in the loss, the constraints after each real optimizer step."""

from regtorch.lazy_package import make_lazy as _make_lazy

_make_lazy(
    __name__,
    {
        "Classifier": "regtorch.training.classifier",
        "NonFiniteLossError": "regtorch.training.failure",
        "PredictedRows": "regtorch.training.predicted_rows",
        "RegularizationCallback": "regtorch.training.regularization_callback",
        "RegularizedModule": "regtorch.training.regularized_module",
        "in_order": "regtorch.training.predicted_rows",
        "run": "regtorch.training.run",
    },
)
