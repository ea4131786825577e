"""Monte Carlo prediction: the moments over several stochastic forward passes."""

from regtorch.mc.prediction import MCPrediction
from regtorch.mc.predictor import MCPredictor
from regtorch.mc.switching import has_dropout, switched_on

__all__ = ["MCPrediction", "MCPredictor", "has_dropout", "switched_on"]
