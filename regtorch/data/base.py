"""What a data set is: settings that check themselves, and arrays that are read and checked without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from regtorch import settings
from regtorch.configurable import Configurable
from regtorch.errors import DataError


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


@dataclass(frozen=True, eq=False)
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

    def take(self, rows: Any) -> Split:
        """These rows alone."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set's parts and the names of its classes; `val` is None when there is no validation part."""

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]

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


def moments(parts: Sequence[np.ndarray], axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over `axes` in float64; a deviation of 0 is given as 1, as `StandardScaler` does."""
    chunks = [c for part in parts for c in np.array_split(part, math.ceil(len(part) / 1000))]  # no float64 copy of all
    count = sum(math.prod(chunk.shape[axis] for axis in axes) for chunk in chunks)
    mean = np.sum([chunk.sum(axes, np.float64, keepdims=True) for chunk in chunks], 0) / count
    std = np.sqrt(np.sum([((chunk - mean) ** 2).sum(axes, keepdims=True) for chunk in chunks], 0) / count)
    return mean[0], np.where(std == 0, 1, std)[0]


def _channels_last(x: np.ndarray) -> np.ndarray:
    """The same array, images (N, C, H, W) laid out in memory as (N, H, W, C), in which convolutions are fastest."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


@dataclass(kw_only=True, eq=False)
class DataSet(Configurable):
    """Base of all data sets: a subclass reads (`read`); splitting off a validation part and checking is done here.

    Args:
        batch_size: rows a batch.
        workers: processes that fetch batches beside the training; 0: none.
        reshuffle: whether the training rows get a new order each epoch, or one order for all epochs.
        validation_fraction: of the training rows, drawn with `split_seed`; 0: no validation part.
            Has no effect where the data brings a validation part of its own.
        split_seed: of the draw.

    Raises:
        SettingError: a setting outside its range.
    """

    batch_size: int = 32
    workers: int = 0
    reshuffle: bool = True
    validation_fraction: float | None = 0.1
    split_seed: int = 42

    def __post_init__(self) -> None:
        may_be_none = {field.name for field in fields(self) if field.default is None}
        given = {key: value for key, value in self.settings().items() if value is not None or key not in may_be_none}
        settings.check("data.", **given)

    def read(self) -> Splits:
        """The parts as they are stored; `val` is None unless the data has a validation part of its own.

        Raises:
            DataError: the data is missing or cannot be read.
        """
        raise TypeError(f"{type(self).__qualname__} must define read()")

    def load(self) -> Splits:
        """The parts, ready for `regtorch.data.batches.loader`; read once, and kept.

        Raises:
            DataError: the data is missing, damaged, or not what it must be; one line says what would be right.
        """
        return self._splits

    def check(self) -> None:
        """Raise what `load` raises; needs no torch."""
        self.load()

    def error(self, message: str) -> DataError:
        """The error to raise about this data set's data: names the setting that says where it is."""
        path = getattr(self, "path", None)
        name = (self.registered_as or ("", type(self).__name__))[1]
        return DataError(f"data={name}: {message}" if path is None else f"data.path={path}: {message}")

    @cached_property
    def _splits(self) -> Splits:
        splits = self.read()
        for part, split in splits.parts.items():
            self._check(part, split, splits)
        if splits.val is None and self.validation_fraction:
            rest, taken = split_rows(len(splits.train), self.validation_fraction, self.split_seed)
            if not len(rest):
                raise self.error(
                    f"data.validation_fraction={self.validation_fraction} leaves none of {len(taken)} rows to train on"
                )
            splits = replace(splits, train=splits.train.take(rest), val=splits.train.take(taken))
        return self.prepare(splits)

    def prepare(self, splits: Splits) -> Splits:
        """What is done to the parts after they are split."""
        return splits

    def prepare_further(self, split: Split) -> Split:
        """Rows that are no part of the data, read as its own are, after what `prepare` did to those."""
        return split

    def as_stored(self, x: np.ndarray) -> np.ndarray:
        """Rows of a prepared part as they were before they were prepared, to be looked at."""
        return x

    def _check(self, part: str, split: Split, splits: Splits) -> None:
        x, y, shape = split.x, split.y, splits.shape
        if not len(x) or not np.prod(x.shape):
            raise self.error(f"x_{part} is empty: its shape is {tuple(x.shape)}")
        if len(x) != len(y):
            raise self.error(f"x_{part} has {len(x)} rows and y_{part} has {len(y)}: they must have equally many")
        if tuple(x.shape[1:]) != shape:
            raise self.error(
                f"a row of x_{part} has the shape {tuple(x.shape[1:])}, of x_train {shape}: they must be the same"
            )
        self._check_labels(f"y_{part}", y, len(splits.classes))
        self._check_finite(f"x_{part}", x)

    def _check_labels(self, key: str, y: np.ndarray, classes: int) -> None:
        outside = np.flatnonzero((y < 0) | (y >= classes))
        if len(outside):
            raise self.error(
                f"{key} has {len(outside)} labels outside the {classes} classes, "
                f"the first is {y[outside[0]]} in row {outside[0]}: labels are 0 to {classes - 1}"
            )

    def _check_finite(self, key: str, x: Rows) -> None:
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            finite = np.isfinite(x)
            if not finite.all():
                row = np.flatnonzero(~finite.reshape(len(x), -1).all(1))[0]
                raise self.error(
                    f"{key} has {np.sum(~finite)} NaN or infinite values, the first in row {row}: all must be finite"
                )


@dataclass(kw_only=True, eq=False)
class ArrayDataSet(DataSet):
    """Base of the data sets that are held in memory: these can be standardised.

    Args:
        standardize: ``none``; ``train``: to mean 0 and standard deviation 1 on the rows that are trained on;
            ``all``: on all rows, the test's too. Images are standardised by channel, vectors by feature.
    """

    standardize: str = "none"

    def prepare(self, splits: Splits) -> Splits:
        """Lay images out for convolutions, then standardise."""
        x = {part: _channels_last(np.asarray(split.x)) for part, split in splits.parts.items()}
        ready = {part: replace(split, x=x[part]) for part, split in splits.parts.items()}
        self._scaling: tuple[np.ndarray, np.ndarray] | None = None
        if self.standardize != "none":
            measured = list(x.values()) if self.standardize == "all" else [x["train"]]
            self._scaling = moments(measured, self.standardized_over(x["train"].ndim))
            ready = {part: _standardized(split, *self._scaling) for part, split in ready.items()}
        return Splits(ready["train"], ready.get("val"), ready["test"], splits.classes)

    def prepare_further(self, split: Split) -> Split:
        """Laid out likewise, and standardised by the statistics that the data's own rows were standardised by."""
        self.load()
        split = replace(split, x=_channels_last(np.asarray(split.x)))
        return split if self._scaling is None else _standardized(split, *self._scaling)

    def as_stored(self, x: np.ndarray) -> np.ndarray:
        """The standardisation undone; pixels are kept as they were anyway."""
        self.load()
        if self._scaling is None or x.dtype == np.uint8:
            return x
        mean, std = self._scaling
        stored: np.ndarray = (x * std + mean).astype(np.float32)
        return stored

    def standardized_over(self, ndim: int) -> tuple[int, ...]:
        """The axes that share a mean and a standard deviation."""
        return (0, 2, 3) if ndim == 4 else (0,)


def _standardized(split: Split, mean: np.ndarray, std: np.ndarray) -> Split:
    """Pixels stay uint8 and are standardised when fetched; other numbers are standardised here and now."""
    if split.x.dtype == np.uint8:
        return replace(split, scaling=((mean / 255).astype(np.float32), (std / 255).astype(np.float32)))
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        return replace(split, x=((np.asarray(split.x) - mean) / std).astype(np.float32))
