"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.training.classifier import Classifier
from regtorch.training.failure import NonFiniteLossError
from regtorch.training.predicted_rows import PredictedRows, in_order
from regtorch.training.regularization_callback import RegularizationCallback
from regtorch.training.regularized_module import RegularizedModule
from regtorch.training.run import run

__all__ = [
    "Classifier",
    "NonFiniteLossError",
    "PredictedRows",
    "RegularizationCallback",
    "RegularizedModule",
    "in_order",
    "run",
]
