"""Learning-rate schedules: settings that build torch's schedulers once the optimizer and the length are known."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("schedulers"),
        "Scheduler": "regtorch.schedulers.base",
    },
)
