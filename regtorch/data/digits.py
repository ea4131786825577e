"""scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits, split_rows
from regtorch.registry import register


@register("data", "digits")
@dataclass(kw_only=True, eq=False)
class Digits(ArrayDataSet):
    """1,797 handwritten digits of 8 x 8 pixels, split as `train_test_split(random_state=split_seed)` does.

    Standardised pixel by pixel, as `StandardScaler` does. Read from scikit-learn's file, without importing it.

    Args:
        test_fraction: of all rows, for the test.
        standardize: ``train``, ``all`` or ``none`` (pixels from 0 to 16).
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: scikit-learn is not installed.

    Example:
        >>> splits = Digits().load()
        >>> splits.shape, [len(split) for split in splits.parts.values()]
        ((1, 8, 8), [1293, 144, 360])
    """

    standardize: str = "train"
    test_fraction: float = 0.2

    def read(self) -> Splits:
        """The rows as `load_digits` and `train_test_split` give them."""
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise self.error("scikit-learn, which brings the digits, is not installed: pip install scikit-learn")
        table = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",", dtype=np.int64)
        everything = Split(table[:, :-1].reshape(-1, 1, 8, 8).astype(np.float32), table[:, -1])
        train, test = split_rows(len(everything), self.test_fraction, self.split_seed)
        return Splits(everything.take(train), None, everything.take(test), tuple("0123456789"))

    def standardized_over(self, ndim: int) -> tuple[int, ...]:
        """The rows: each pixel has a mean of its own."""
        return (0,)
