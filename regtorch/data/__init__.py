"""The data sets: read and checked with numpy alone; `regtorch.data.batches` turns them into torch batches."""

from regtorch.data.base import DataSet, Split, Splits

__all__ = ["DataSet", "Split", "Splits"]
