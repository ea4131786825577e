"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.optimizers.adadelta import Adadelta
from regtorch.optimizers.adagrad import Adagrad
from regtorch.optimizers.adam import Adam, Adamax, AdamW, Nadam
from regtorch.optimizers.rmsprop import RMSprop
from regtorch.optimizers.sgd import SGD, Momentum, Nesterov

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Momentum", "Nadam", "Nesterov", "RMSprop"]
