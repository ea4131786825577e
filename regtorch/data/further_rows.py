"""Rows to predict that are not part of a data set, from a .npz file or from image files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.data.arrays import Arrays
from regtorch.data.base import DataSet, channels_last
from regtorch.data.image_files import ImageFiles, check_size, find_images, modes
from regtorch.data.labels import check_range, class_numbers
from regtorch.data.npz_file import listed, read_npz
from regtorch.data.preprocessing import Preprocessing
from regtorch.data.splits import Split
from regtorch.data.stored_type import ValueRange, check_one_scale, kind_of, meaning
from regtorch.errors import DataError

MADE_BY = "make it with numpy.savez(path, x=...), optionally with y=..."

#: the label of a row of an unknown class
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """The properties of a network's training rows that further rows must have, too.

    Args:
        shape: shape of a row.
        classes: names of the classes.
        preprocessing: preprocessing of a stored row; None if it is unknown.
        layout: layout of 4-d arrays.
        resized: whether images were scaled to the size of a row.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None = None
    layout: str = "auto"
    resized: bool = False

    @classmethod
    def of(cls, data: DataSet) -> NetworkInput:
        """Return the input of a network that was trained on a data set."""
        splits = data.load()
        preprocessing = data.preprocessing() or Preprocessing(str(splits.train.x.dtype))
        return cls(
            splits.shape,
            splits.classes,
            preprocessing,
            getattr(data, "layout", "auto"),
            isinstance(splits.train.x, ImageFiles),
        )

    @classmethod
    def of_checkpoint(cls, described: Mapping[str, Any]) -> NetworkInput | None:
        """Read the network's input from the description in a checkpoint; None for a checkpoint of an older version.

        Raises:
            DataError: the description does not have the format of regtorch.
        """
        names, shape, data = (described.get(key) for key in ("class_names", "shape", "data"))
        if names is None or described.get("preprocessing") is None:
            return None
        if (
            not isinstance(shape, list)
            or len(shape) not in (1, 3)
            or not all(type(size) is int and size > 0 for size in shape)
            or not isinstance(names, list)
            or len(names) != described.get("classes")
            or not all(isinstance(name, str) for name in names)
            or not isinstance(data, Mapping)
        ):
            raise DataError("its description of shape and classes does not have the format of regtorch")
        preprocessing = Preprocessing.from_described(described["preprocessing"], shape)
        layout = data.get("layout") if data.get("layout") in ("nchw", "nhwc") else "auto"
        return cls(tuple(shape), tuple(names), preprocessing, str(layout), data.get("name") == "image_folder")

    def check_kind(self, key: str, dtype: np.dtype, error: Any) -> None:
        """Refuse rows of another kind of type, as their numbers have another scale or meaning.

        Raises:
            DataError: the kinds differ; the message names both types.
        """
        known = self.preprocessing
        if known is not None and kind_of(dtype) != kind_of(known.dtype):
            raise error(
                f"{key} has the type {meaning(dtype)}, but the network was trained on {meaning(known.dtype)}: save it as "
                f"{known.dtype}, {key}.astype('{known.dtype}') if its values are on the same scale"
            )

    def check_values(self, key: str, x: np.ndarray, error: Any) -> None:
        """Refuse rows that look like pixels on another scale.

        Raises:
            DataError: the scales differ; the message names both ranges.
        """
        known = self.preprocessing
        if known is not None and known.values is not None and x.size and x.dtype != np.uint8:
            check_one_scale({"the training data": known.values, key: ValueRange.of(x)}, error)

    def prepared(self, split: Split) -> Split:
        """Return the rows with the memory layout and scale of the network's training rows."""
        if isinstance(split.x, np.ndarray):
            split = Split(channels_last(split.x), split.y)
        return split if self.preprocessing is None else self.preprocessing.applied(split)


@dataclass(kw_only=True, eq=False)
class FurtherRows(Arrays):
    """Rows to predict, read and standardized exactly like the training rows of a network.

    The source is a ``.npz`` file, an image file, or a folder of image files, optionally in folders named by class. A
    ``.npz`` file has x (or x_test) as in `Arrays`, with the row shape of the training data and possibly without any
    rows. Its labels are y (or y_test) as in `Arrays`; without them, all labels are `UNKNOWN`.

    Args:
        path: the file or folder.
        layout: layout of 4-d arrays, as in `Arrays`.
    """

    def like(self, data: DataSet | NetworkInput) -> Split:
        """Return the rows, prepared like those of `data`.

        Raises:
            DataError: the file or x is missing, or x or y is invalid.
        """
        wanted = data if isinstance(data, NetworkInput) else NetworkInput.of(data)
        path = Path(str(self.path)).expanduser()
        split = self._images(path, wanted) if path.suffix.lower() != ".npz" else self._rows(path, wanted)
        if isinstance(data, DataSet):
            return data.prepare_further(split)
        return wanted.prepared(split)

    def _rows(self, path: Path, wanted: NetworkInput) -> Split:
        arrays, names = read_npz(path, ("x", "y", "x_test", "y_test"), self.error, MADE_BY)
        kx, ky = ("x", "y") if "x" in arrays else ("x_test", "y_test")
        if kx not in arrays:
            raise self.error(f"has no x; it has: {listed(names)}; {MADE_BY}")
        x = self._inputs(kx, arrays[kx])
        wanted.check_kind(kx, arrays[kx].dtype, self.error)
        if x.shape[1:] != wanted.shape:
            raise self.error(
                f"a row of {kx} has the shape {x.shape[1:]}, but the network was trained on {wanted.shape}: they must be "
                "equal"
            )
        self._check_finite(kx, x)
        wanted.check_values(kx, x, self.error)
        y = np.full(len(x), UNKNOWN, np.int64)
        if ky in arrays:
            y = class_numbers(ky, arrays[ky], self.error)
            check_range(ky, y, len(wanted.classes), self.error)
        if len(x) != len(y):
            raise self.error(f"{kx} has {len(x)} rows and {ky} has {len(y)}: they must have equal numbers")
        return Split(x, y)

    def _images(self, path: Path, wanted: NetworkInput) -> Split:
        files = find_images(path, self.error)
        wanted.check_kind("an image", np.dtype(np.uint8), self.error)
        mode = modes().get(wanted.shape[0]) if len(wanted.shape) == 3 else None
        if mode is None:
            raise self.error(
                f"holds images, but the network was trained on rows of shape {wanted.shape}: make a .npz file of such rows; "
                f"{MADE_BY}"
            )
        size = wanted.shape[1:]
        if not wanted.resized:
            check_size(files, size, self.error)
        number = {name: index for index, name in enumerate(wanted.classes)}
        known = path.is_dir() and all(file.parent != path and file.parent.name in number for file in files)
        y = [number[file.parent.name] if known else UNKNOWN for file in files]
        return Split(ImageFiles(files, size, mode), np.array(y, np.int64))

    def error(self, message: str) -> DataError:
        """Return the error to raise about the file."""
        return DataError(f"data={self.path}: {message}")
