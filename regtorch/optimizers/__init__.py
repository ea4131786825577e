"""Optimizers: torch's own, with settings under Keras' names, and by default the steps that Keras takes."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(__name__, _homes("optimizers"))
