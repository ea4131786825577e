"""Models assembled from components: multilayer perceptrons and convolutional networks."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(__name__, _homes("models"))
