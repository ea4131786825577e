"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.optimizers.adadelta import Adadelta
from regtorch.optimizers.adagrad import Adagrad
from regtorch.optimizers.adam import Adam
from regtorch.optimizers.adamax import Adamax
from regtorch.optimizers.adamw import AdamW
from regtorch.optimizers.momentum import Momentum
from regtorch.optimizers.nadam import Nadam
from regtorch.optimizers.nesterov import Nesterov
from regtorch.optimizers.rmsprop import RMSprop
from regtorch.optimizers.sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Momentum", "Nadam", "Nesterov", "RMSprop"]
