"""Base classes of data sets. Settings are checked at creation; arrays are read and checked without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from regtorch import settings
from regtorch.data.digest import digest
from regtorch.data.labels import check_range
from regtorch.data.memory import as_data_error
from regtorch.data.preprocessing import Preprocessing
from regtorch.data.splits import Rows, Split, Splits, split_rows
from regtorch.data.stored_type import ValueRange, check_one_kind
from regtorch.errors import DataError
from regtorch.registry.configurable import Configurable

__all__ = ["ArrayDataSet", "DataSet", "Rows", "Split", "Splits", "moments", "split_rows"]


def moments(parts: Sequence[np.ndarray], axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over `axes` in float64. A deviation of 0 is returned as 1, as in `StandardScaler`."""
    chunks = [
        c for part in parts for c in np.array_split(part, math.ceil(len(part) / 1000))
    ]  # avoids a float64 copy of all rows
    count = sum(math.prod(chunk.shape[axis] for axis in axes) for chunk in chunks)
    mean = np.sum([chunk.sum(axes, np.float64, keepdims=True) for chunk in chunks], 0) / count
    std = np.sqrt(np.sum([((chunk - mean) ** 2).sum(axes, keepdims=True) for chunk in chunks], 0) / count)
    return mean[0], np.where(std == 0, 1, std)[0]


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) with the memory layout (N, H, W, C), as convolutions are faster with it."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


@dataclass(kw_only=True, eq=False)
class DataSet(Configurable):
    """Base of all data sets. A subclass defines `read`; this class checks the data and splits off a validation part.

    Args:
        batch_size: rows per batch.
        workers: processes that fetch batches in parallel to the training; 0 for none.
        reshuffle: whether the training rows get a new order in each epoch, or one order for all epochs.
        validation_fraction: fraction of the training rows, drawn with `split_seed`; 0 for no validation part.
            It has no effect if the data has its own validation part.
        split_seed: seed of the split.
        changed: ``refuse`` or ``allow`` to resume a run whose data has changed since training.

    Raises:
        SettingError: a setting is outside its range.
    """

    batch_size: int = 32
    workers: int = 0
    reshuffle: bool = True
    validation_fraction: float | None = 0.1
    split_seed: int = 42
    changed: str = "refuse"

    def __post_init__(self) -> None:
        may_be_none = {field.name for field in fields(self) if field.default is None}
        given = {key: value for key, value in self.settings().items() if value is not None or key not in may_be_none}
        settings.check("data.", **given)

    def read(self) -> Splits:
        """Read the stored parts; `val` is None unless the data has its own validation part.

        Raises:
            DataError: the data is missing or cannot be read.
        """
        raise TypeError(f"{type(self).__qualname__} must define read()")

    def load(self) -> Splits:
        """Return the parts, ready for `regtorch.data.batches.loader`. They are read once and cached.

        Raises:
            DataError: the data is missing, damaged or invalid; one line names a remedy.
        """
        return self._splits

    def check(self) -> None:
        """Raise the errors of `load`, without torch."""
        self.load()

    def digest(self) -> dict[str, str]:
        """Return a digest of the stored rows of each part; see `regtorch.data.digest`."""
        self.load()
        return {
            part: found if isinstance(found, str) else digest(found.x, found.y) for part, found in self._stored.items()
        }

    def error(self, message: str) -> DataError:
        """Return the error to raise about the data; it names the setting of the data's path."""
        path = getattr(self, "path", None)
        name = (self.registered_as or ("", type(self).__name__))[1]
        return DataError(f"data={name}: {message}" if path is None else f"data.path={path}: {message}")

    @cached_property
    def _splits(self) -> Splits:
        with as_data_error(self.error, self.sized_by()):
            splits = self.read()
            check_one_kind({f"x_{part}": split.x.dtype for part, split in splits.parts.items()}, self.error)
            for part, split in splits.parts.items():
                self._check(part, split, splits)
            # the next steps may change rows in memory; files are read only if a digest is requested
            self._stored: dict[str, str | Split] = {
                part: digest(split.x, split.y) if isinstance(split.x, np.ndarray) else split
                for part, split in splits.parts.items()
            }
            if splits.val is None and self.validation_fraction:
                rest, taken = split_rows(len(splits.train), self.validation_fraction, self.split_seed)
                if not len(rest):
                    raise self.error(
                        f"data.validation_fraction={self.validation_fraction} leaves none of {len(taken)} rows to train on"
                    )
                splits = replace(splits, train=splits.train.take(rest), val=splits.train.take(taken))
            return self.prepare(splits)

    def sized_by(self) -> str:
        """The settings that determine the memory of the data, for messages; empty if a file determines it."""
        return ""

    def preprocessing(self) -> Preprocessing | None:
        """The preprocessing from a stored row to the network's input; None if a subclass overrides `prepare`."""
        if type(self).prepare not in (DataSet.prepare, ArrayDataSet.prepare):
            return None
        self.load()
        return self._preprocessing

    def described(self) -> dict[str, Any]:
        """The names of the classes and the preprocessing, as plain containers for a checkpoint."""
        classes, preprocessing = self.load().classes, self.preprocessing()
        described = None if preprocessing is None else preprocessing.described()
        return {"class_names": list(classes), "preprocessing": described}

    def prepare(self, splits: Splits) -> Splits:
        """Prepare the parts after the split."""
        self._preprocessing = Preprocessing(str(splits.train.x.dtype))
        return splits

    def prepare_further(self, split: Split) -> Split:
        """Prepare rows from another file like the rows of this data."""
        return split

    def as_stored(self, x: np.ndarray) -> np.ndarray:
        """Return prepared rows as they were before the preparation, for display."""
        return x

    def _check(self, part: str, split: Split, splits: Splits) -> None:
        x, y, shape = split.x, split.y, splits.shape
        if not len(x) or not np.prod(x.shape):
            raise self.error(f"x_{part} is empty: its shape is {tuple(x.shape)}")
        if len(x) != len(y):
            raise self.error(f"x_{part} has {len(x)} rows and y_{part} has {len(y)}: they must have equal numbers")
        if tuple(x.shape[1:]) != shape:
            raise self.error(
                f"a row of x_{part} has the shape {tuple(x.shape[1:])}, of x_train {shape}: they must be the same"
            )
        check_range(f"y_{part}", y, len(splits.classes), self.error)
        self._check_finite(f"x_{part}", x)

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
    """Base of the data sets in memory, which can be standardized.

    Args:
        standardize: ``none``; ``train``: to mean 0 and standard deviation 1 on the training rows;
            ``all``: on all rows, including the test. Images are standardized per channel, vectors per feature.
    """

    standardize: str = "none"

    def prepare(self, splits: Splits) -> Splits:
        """Make images channels-last in memory, then standardize."""
        x = {part: channels_last(np.asarray(split.x)) for part, split in splits.parts.items()}
        ready = {part: replace(split, x=x[part]) for part, split in splits.parts.items()}
        mean, std = None, None
        if self.standardize != "none":
            measured = list(x.values()) if self.standardize == "all" else [x["train"]]
            mean, std = moments(measured, self.standardized_over(x["train"].ndim))
        values = None if x["train"].dtype == np.uint8 else ValueRange.of(x["train"])
        stored = getattr(self, "stored_type", x["train"].dtype)
        layout = getattr(self, "stored_layout", "nchw")
        self._preprocessing = Preprocessing(stored.newbyteorder("=").name, mean, std, values, layout)
        ready = {part: self._preprocessing.applied(split) for part, split in ready.items()}
        return Splits(ready["train"], ready.get("val"), ready["test"], splits.classes)

    def prepare_further(self, split: Split) -> Split:
        """Apply the same memory layout, and standardize with the statistics of the data's own rows."""
        self.load()
        return self._preprocessing.applied(replace(split, x=channels_last(np.asarray(split.x))))

    def as_stored(self, x: np.ndarray) -> np.ndarray:
        """Invert the standardization. Pixels are stored unstandardized."""
        self.load()
        return self._preprocessing.undone(x)

    def standardized_over(self, ndim: int) -> tuple[int, ...]:
        """Return the axes that share a mean and a standard deviation."""
        return (0, 2, 3) if ndim == 4 else (0,)
