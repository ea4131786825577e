"""The parts of a data set: arrays of rows and labels, and the scaling of rows when they are fetched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """Inputs by row: a numpy array, or an object that `np.asarray` converts to one, such as files that are decoded then."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels, height, width) or (rows, features)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, or uint8 for pixels from 0 to 255."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set.

    Args:
        x: (rows, channels, height, width) or (rows, features). uint8 are pixels, and become x / 255 when fetched.
        y: (rows,) int64, the class number of each row.
        scaling: None, or (mean, std) that standardize a fetched row (after the division by 255); their shapes broadcast
            over a row.
    """

    x: Rows
    y: np.ndarray
    scaling: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows of shape {tuple(self.x.shape[1:])}, {self.x.dtype})"

    def take(self, rows: Any) -> Split:
        """Return a part with only these rows."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """The parts of a data set and the names of its classes; `val` is None if there is no validation part."""

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(part)}" for name, part in self.parts.items())
        return f"Splits({rows} rows of shape {self.shape}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row: (channels, height, width) or (features,)."""
        return tuple(self.train.x.shape[1:])

    @property
    def parts(self) -> dict[str, Split]:
        """Name -> part, for each existing part."""
        return {"train": self.train, **({"val": self.val} if self.val is not None else {}), "test": self.test}


def split_rows(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the remaining and the removed part, drawn like scikit-learn's `train_test_split`.

    Example:
        >>> [part.tolist() for part in split_rows(5, 0.4, seed=42)]
        [[2, 0, 3], [1, 4]]
    """
    order = np.random.RandomState(seed).permutation(rows)
    taken = math.ceil(fraction * rows)
    return order[taken:], order[:taken]
