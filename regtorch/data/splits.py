"""A data set's parts: arrays of rows and of labels, and how the rows are scaled when they are fetched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """Inputs by row: a numpy array, or what `np.asarray` makes one of, such as files that are decoded only then."""

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
        y: (rows,) int64, the number of each row's class.
        scaling: (mean, std), what a fetch subtracts and then divides by (after the division by 255), of a shape that
            broadcasts over a row; or None.
    """

    x: Rows
    y: np.ndarray
    scaling: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows of shape {tuple(self.x.shape[1:])}, {self.x.dtype})"

    def take(self, rows: Any) -> Split:
        """These rows alone."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """A data set's parts and the names of its classes; `val` is None when there is no validation part."""

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(part)}" for name, part in self.parts.items())
        return f"Splits({rows} rows of shape {self.shape}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row: (channels, height, width) or (features,)."""
        return tuple(self.train.x.shape[1:])

    @property
    def parts(self) -> dict[str, Split]:
        """Name -> part, of those that there are."""
        return {"train": self.train, **({"val": self.val} if self.val is not None else {}), "test": self.test}


def split_rows(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the rest and of the part taken away, as scikit-learn's `train_test_split` draws them.

    Example:
        >>> [part.tolist() for part in split_rows(5, 0.4, seed=42)]
        [[2, 0, 3], [1, 4]]
    """
    order = np.random.RandomState(seed).permutation(rows)
    taken = math.ceil(fraction * rows)
    return order[taken:], order[:taken]
