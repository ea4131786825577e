"""Rows to predict that are no part of a data set: a .npz file with x, and perhaps y."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regtorch.data.arrays import Arrays
from regtorch.data.base import DataSet, Split
from regtorch.errors import DataError

MADE_BY = "make it with numpy.savez(path, x=...), or with y=... beside it"

#: the label of a row whose class is not known
UNKNOWN = -1


@dataclass(kw_only=True, eq=False)
class FurtherRows(Arrays):
    """The rows of a ``.npz`` file, read and standardised exactly as those that a network was trained on.

    x: as in `Arrays`, of the shape that a row of the training data has; no rows at all are allowed.
    y: (N,) whole numbers, the classes' numbers; without it all are `UNKNOWN`.

    Args:
        path: the file.
        layout: of 4-d arrays, as in `Arrays`.
    """

    def like(self, data: DataSet) -> Split:
        """The rows, prepared as those of `data` are.

        Raises:
            DataError: no such file, no x, or x and y are not what they must be.
        """
        arrays = self._arrays(("x", "y"), MADE_BY)
        if "x" not in arrays:
            raise self.error(f"has no x: {MADE_BY}")
        own = data.load()
        x = self._inputs("x", arrays["x"])
        pixels = own.train.x.dtype == np.uint8
        if (x.dtype == np.uint8) != pixels:  # pixels are divided by 255, so these are numbers on another scale
            theirs = "pixels from 0 to 255 of type uint8" if pixels else "numbers, not on pixels of type uint8"
            raise self.error(f"x has the type {arrays['x'].dtype}, and the network was trained on {theirs}")
        if x.shape[1:] != own.shape:
            raise self.error(
                f"a row of x has the shape {x.shape[1:]}, and the network was trained on {own.shape}: they must be the same"
            )
        self._check_finite("x", x)
        y = np.full(len(x), UNKNOWN, np.int64)
        if "y" in arrays:
            y = self._labels("y", arrays["y"])
            self._check_labels("y", y, len(own.classes))
        if len(x) != len(y):
            raise self.error(f"x has {len(x)} rows and y has {len(y)}: they must have equally many")
        return data.prepare_further(Split(x, y))

    def error(self, message: str) -> DataError:
        """The error to raise about the file."""
        return DataError(f"data={self.path}: {message}")
