"""Dropouts: modules that add noise during training, and conversion of torch's dropouts."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("dropout"),
        "Noise": "regtorch.dropout.base",
        "ProbabilityDropout": "regtorch.dropout.base",
        "consistent": "regtorch.dropout.consistent_dropout",
        "convert_dropout": "regtorch.dropout.convert",
        "depth_schedule": "regtorch.dropout.depth_schedule",
    },
)
