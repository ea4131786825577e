"""Data sets. They are read and checked without torch; `regtorch.data.batches` turns them into torch batches."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("data"),
        "ArrayDataSet": "regtorch.data.base",
        "DataSet": "regtorch.data.base",
        "Split": "regtorch.data.base",
        "Splits": "regtorch.data.base",
    },
)
