"""Synthetic data, for tests and benchmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits, split_rows
from regtorch.data.memory import check_memory
from regtorch.registry import register


@register("data", "synthetic")
@dataclass(kw_only=True, eq=False)
class Synthetic(ArrayDataSet):
    """Gaussian clusters: each class has a center from N(0, 1), and each row is the center of its class + noise * N(0, 1).

    Args:
        rows: number of rows in all parts together.
        row_shape: [features] or [channels, height, width].
        classes: number of classes.
        noise: standard deviation within a class; that of the centers is 1.
        test_fraction: fraction of the rows for the test part.
        split_seed: seed of the data and the split.
        batch_size, workers, validation_fraction, standardize: as in `ArrayDataSet`.

    Example:
        >>> Synthetic(rows=100, row_shape=[3, 4, 4]).load().train.x.shape
        (72, 3, 4, 4)
    """

    rows: int = 1000
    row_shape: Sequence[int] = field(default_factory=lambda: [20])
    classes: int = 4
    noise: float = 1.0
    test_fraction: float = 0.2

    def sized_by(self) -> str:
        """Name the settings that determine the size of the data."""
        return f"data.rows={self.rows} of data.row_shape={list(self.row_shape)} and data.classes={self.classes}"

    def read(self) -> Splits:
        """Draw the rows, and split them."""
        values = (self.rows + self.classes) * math.prod(self.row_shape)
        check_memory(3 * 4 * values + 16 * self.rows + 100 * self.classes, self.error, self.sized_by())
        rng = np.random.default_rng(self.split_seed)
        y = rng.integers(self.classes, size=self.rows)
        centers = rng.standard_normal((self.classes, *self.row_shape), np.float32)
        x = centers[y] + np.float32(self.noise) * rng.standard_normal((self.rows, *self.row_shape), np.float32)
        train, test = split_rows(self.rows, self.test_fraction, self.split_seed)
        everything = Split(x, y)
        return Splits(everything.take(train), None, everything.take(test), tuple(map(str, range(self.classes))))
