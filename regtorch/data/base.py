"""What a data set is: settings that check themselves, and arrays that are read and checked without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from regtorch import settings
from regtorch.configurable import Configurable
from regtorch.data.digest import digest
from regtorch.data.labels import check_range
from regtorch.data.memory import in_memory
from regtorch.data.preprocessing import Preprocessing
from regtorch.data.splits import Rows, Split, Splits, split_rows
from regtorch.data.stored_type import ValueRange, check_one_kind
from regtorch.errors import DataError

__all__ = ["ArrayDataSet", "DataSet", "Rows", "Split", "Splits", "moments", "split_rows"]


def moments(parts: Sequence[np.ndarray], axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over `axes` in float64; a deviation of 0 is given as 1, as `StandardScaler` does."""
    chunks = [c for part in parts for c in np.array_split(part, math.ceil(len(part) / 1000))]  # no float64 copy of all
    count = sum(math.prod(chunk.shape[axis] for axis in axes) for chunk in chunks)
    mean = np.sum([chunk.sum(axes, np.float64, keepdims=True) for chunk in chunks], 0) / count
    std = np.sqrt(np.sum([((chunk - mean) ** 2).sum(axes, keepdims=True) for chunk in chunks], 0) / count)
    return mean[0], np.where(std == 0, 1, std)[0]


def channels_last(x: np.ndarray) -> np.ndarray:
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
        changed: what resuming a run does where the data is no longer what it was trained on: ``refuse``, or ``allow``.

    Raises:
        SettingError: a setting outside its range.
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

    def digest(self) -> dict[str, str]:
        """Part -> what tells its rows from others, as they are stored; see `regtorch.data.digest`."""
        self.load()
        return {
            part: found if isinstance(found, str) else digest(found.x, found.y) for part, found in self._stored.items()
        }

    def error(self, message: str) -> DataError:
        """The error to raise about this data set's data: names the setting that says where it is."""
        path = getattr(self, "path", None)
        name = (self.registered_as or ("", type(self).__name__))[1]
        return DataError(f"data={name}: {message}" if path is None else f"data.path={path}: {message}")

    @cached_property
    def _splits(self) -> Splits:
        with in_memory(self.error, self.sized_by()):
            splits = self.read()
            check_one_kind({f"x_{part}": split.x.dtype for part, split in splits.parts.items()}, self.error)
            for part, split in splits.parts.items():
                self._check(part, split, splits)
            # rows in memory may be changed by what follows; files are looked at only if somebody asks
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
        """The settings that say how much memory the data needs, as a message names them; empty: the file says it."""
        return ""

    def preprocessing(self) -> Preprocessing | None:
        """What is done to a stored row before it is the network's input; None where a subclass prepares in its own way."""
        if type(self).prepare not in (DataSet.prepare, ArrayDataSet.prepare):
            return None
        self.load()
        return self._preprocessing

    def described(self) -> dict[str, Any]:
        """Names of the classes and what is done to a row, as plain containers for a checkpoint."""
        classes, preprocessing = self.load().classes, self.preprocessing()
        described = None if preprocessing is None else preprocessing.described()
        return {"class_names": list(classes), "preprocessing": described}

    def prepare(self, splits: Splits) -> Splits:
        """What is done to the parts after they are split."""
        self._preprocessing = Preprocessing(str(splits.train.x.dtype))
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
    """Base of the data sets that are held in memory: these can be standardised.

    Args:
        standardize: ``none``; ``train``: to mean 0 and standard deviation 1 on the rows that are trained on;
            ``all``: on all rows, the test's too. Images are standardised by channel, vectors by feature.
    """

    standardize: str = "none"

    def prepare(self, splits: Splits) -> Splits:
        """Lay images out for convolutions, then standardise."""
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
        """Laid out likewise, and standardised by the statistics that the data's own rows were standardised by."""
        self.load()
        return self._preprocessing.applied(replace(split, x=channels_last(np.asarray(split.x))))

    def as_stored(self, x: np.ndarray) -> np.ndarray:
        """The standardisation undone; pixels are kept as they were anyway."""
        self.load()
        return self._preprocessing.undone(x)

    def standardized_over(self, ndim: int) -> tuple[int, ...]:
        """The axes that share a mean and a standard deviation."""
        return (0, 2, 3) if ndim == 4 else (0,)
