"""Handwritten digits, included in regtorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits, split_rows
from regtorch.registry import register


@register("data", "digits")
@dataclass(kw_only=True, eq=False)
class Digits(ArrayDataSet):
    """1,797 handwritten digits of 8 x 8 pixels, split like `train_test_split(random_state=split_seed)`.

    Each pixel is standardized separately, as in `StandardScaler`. Rows and order are those of scikit-learn's `load_digits`.

    Args:
        test_fraction: fraction of all rows for the test part.
        standardize: ``train``, ``all`` or ``none`` (pixels from 0 to 16).
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998
    (its test part; CC BY 4.0).

    Example:
        >>> splits = Digits().load()
        >>> splits.shape, [len(split) for split in splits.parts.values()]
        ((1, 8, 8), [1293, 144, 360])
    """

    standardize: str = "train"
    test_fraction: float = 0.2

    def read(self) -> Splits:
        """Read the rows, and split them like `train_test_split`."""
        with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
            everything = Split(file["x"][:, None].astype(np.float32), file["y"].astype(np.int64))
        train, test = split_rows(len(everything), self.test_fraction, self.split_seed)
        return Splits(everything.take(train), None, everything.take(test), tuple("0123456789"))

    def standardized_over(self, ndim: int) -> tuple[int, ...]:
        """Return the axis of the rows, as each pixel has its own mean."""
        return (0,)
