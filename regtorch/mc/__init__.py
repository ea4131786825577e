"""Monte Carlo prediction: the moments over several stochastic forward passes."""

from regtorch.mc.always_on import always_on
from regtorch.mc.calibration import adaptive_calibration_error, calibration_error
from regtorch.mc.dropouts import count_as_dropout, has_dropout
from regtorch.mc.evaluation import evaluate, out_of_distribution_auroc
from regtorch.mc.noise_sites import NoiseSite, has_noise, sampled_modules
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.predictor import MCPredictor
from regtorch.mc.regression import evaluate_regression
from regtorch.mc.samples_needed import SamplesNeeded, samples_needed
from regtorch.mc.selective_prediction import (
    SelectiveCurve,
    aurc,
    coverage_at_risk,
    risk_at_coverage,
    selective_accuracy,
)

__all__ = [
    "MCPrediction",
    "MCPredictor",
    "NoiseSite",
    "SamplesNeeded",
    "SelectiveCurve",
    "adaptive_calibration_error",
    "always_on",
    "aurc",
    "calibration_error",
    "count_as_dropout",
    "coverage_at_risk",
    "evaluate",
    "evaluate_regression",
    "has_dropout",
    "has_noise",
    "out_of_distribution_auroc",
    "risk_at_coverage",
    "sampled_modules",
    "samples_needed",
    "selective_accuracy",
]
