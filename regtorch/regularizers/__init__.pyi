"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.regularizers.group_lasso import GroupLasso
from regtorch.regularizers.hoyer_square import HoyerSquare
from regtorch.regularizers.l1_l2 import L1, L1L2, L2
from regtorch.regularizers.none import NoRegularizer
from regtorch.regularizers.orthogonal import Orthogonal
from regtorch.regularizers.several import SeveralRegularizers
from regtorch.regularizers.spectral import Spectral
from regtorch.regularizers.squared_l1 import SquaredL1

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "Activity",
    "Concrete",
    "GroupLasso",
    "HoyerSquare",
    "NoRegularizer",
    "Orthogonal",
    "Regularizer",
    "SeveralRegularizers",
    "Spectral",
    "SquaredL1",
]
