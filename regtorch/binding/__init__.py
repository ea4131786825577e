"""Rules bound to the parameters of a model: `WeightPenalty` and `WeightConstraint`."""

from regtorch.binding.constraint import WeightConstraint
from regtorch.binding.penalty import WeightPenalty

__all__ = ["WeightConstraint", "WeightPenalty"]
