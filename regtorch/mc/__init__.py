"""Monte Carlo prediction: the moments over several stochastic forward passes."""

from regtorch.mc.always_on import always_on
from regtorch.mc.dropouts import count_as_dropout, has_dropout
from regtorch.mc.evaluation import evaluate, out_of_distribution_auroc
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.predictor import MCPredictor
from regtorch.mc.samples_needed import SamplesNeeded, samples_needed
from regtorch.mc.selective_prediction import SelectiveCurve, selective_accuracy

__all__ = [
    "MCPrediction",
    "MCPredictor",
    "SamplesNeeded",
    "SelectiveCurve",
    "always_on",
    "count_as_dropout",
    "evaluate",
    "has_dropout",
    "out_of_distribution_auroc",
    "samples_needed",
    "selective_accuracy",
]
