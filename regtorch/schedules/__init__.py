"""Schedules of a penalty's strength or a dropout's probability: the factor as a function of training progress."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("schedules"),
        "Schedule": "regtorch.schedules.base",
    },
)
