"""Monte Carlo prediction: the moments over several stochastic forward passes."""

from regtorch.mc.always_on import always_on
from regtorch.mc.dropouts import count_as_dropout, has_dropout
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.predictor import MCPredictor

__all__ = ["MCPrediction", "MCPredictor", "always_on", "count_as_dropout", "has_dropout"]
