"""Optimizers: torch's own, with settings named as in Keras, and by default the same steps as in Keras."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(__name__, _homes("optimizers"))
