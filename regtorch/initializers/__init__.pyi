"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.initializers.base import Initializer
from regtorch.initializers.constant import Constant, Identity, Ones, Zeros
from regtorch.initializers.orthogonal import OrthogonalInitializer
from regtorch.initializers.random import RandomNormal, RandomUniform, TruncatedNormal
from regtorch.initializers.variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
)

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
]
