"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.constraints.base import Constraint
from regtorch.constraints.max_norm import MaxNorm
from regtorch.constraints.min_max_norm import MinMaxNorm
from regtorch.constraints.non_neg import NonNeg
from regtorch.constraints.none import NoConstraint
from regtorch.constraints.several import SeveralConstraints
from regtorch.constraints.soft_threshold import SoftThreshold
from regtorch.constraints.spectral_norm import SpectralNorm
from regtorch.constraints.unit_norm import UnitNorm

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NoConstraint",
    "NonNeg",
    "SeveralConstraints",
    "SoftThreshold",
    "SpectralNorm",
    "UnitNorm",
]
