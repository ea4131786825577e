"""Monte Carlo prediction: the moments over several stochastic forward passes."""

from regtorch.mc.predictor import MCPrediction, MCPredictor
from regtorch.mc.switching import has_dropout, switched_on

__all__ = ["MCPrediction", "MCPredictor", "has_dropout", "switched_on"]
