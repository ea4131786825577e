"""Arrays of one's own, from a .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits
from regtorch.registry import register

NEEDED = ("x_train", "y_train", "x_test", "y_test")
MADE_BY = "make it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


@register("data", "arrays")
@dataclass(kw_only=True, eq=False)
class Arrays(ArrayDataSet):
    """Any ``.npz`` file with `x_train`, `y_train`, `x_test`, `y_test`, and perhaps `x_val`, `y_val`.

    x: (N, F) vectors, (N, H, W) gray images, or (N, H, W, C) or (N, C, H, W) images; uint8 is divided by 255.
    y: (N,) or (N, 1) whole numbers from 0.

    Args:
        path: the file.
        layout: of 4-d arrays: ``nchw``, ``nhwc``, or ``auto``: ``nhwc`` if only the last size is 1, 3 or 4.
        classes: how many there are; None: one more than the largest label of `y_train`.
        standardize: ``none``, ``train`` or ``all``: images by channel, vectors by feature.
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: no such file, no .npz, damaged, a key is missing, lengths or shapes differ, labels are outside the
            classes, values are not finite, or the file holds Python objects (which are never loaded).
    """

    path: str | None = None
    layout: str = "auto"
    classes: int | None = None

    def read(self) -> Splits:
        """The file's arrays: x as uint8 or float32, y as int64."""
        arrays = self._arrays()
        val = {"x_val", "y_val"} & arrays.keys()
        for key in (*NEEDED, *(("x_val", "y_val") if val else ())):
            if key not in arrays:
                raise self.error(f"has no {key}, only {', '.join(arrays) or 'nothing'}: {MADE_BY}")
        y = {
            part: self._labels(f"y_{part}", arrays[f"y_{part}"])
            for part in ("train", *(["val"] if val else []), "test")
        }
        parts = {part: Split(self._inputs(f"x_{part}", arrays.pop(f"x_{part}")), labels) for part, labels in y.items()}
        return Splits(parts["train"], parts.get("val"), parts["test"], tuple(map(str, range(self._count(y["train"])))))

    def _arrays(
        self, keys: Sequence[str] = (*NEEDED, "x_val", "y_val"), made_by: str = MADE_BY
    ) -> dict[str, np.ndarray]:
        if self.path is None:
            raise self.error(f"data.path is not given: it must be the name of a .npz file: {made_by}")
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise self.error(f"there is no such file; it must be a .npz file: {made_by}")
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in keys if key in file}
        except PermissionError as error:
            raise self.error(f"cannot be read: {error.strerror}") from error
        except Exception as error:  # whatever a damaged file makes zipfile, zlib and numpy raise
            reason = str(error).partition("\n")[0].partition(". ")[0]  # not NumPy's advice to unpickle it
            raise self.error(
                f"cannot be read as a .npz file of plain arrays, it is damaged or something else ({reason}): {made_by}"
            ) from error

    def _count(self, y: np.ndarray) -> int:
        count = self.classes or (int(y.max()) + 1 if len(y) else 0)
        if self.classes is None and not 2 <= count <= max(2, len(y)):
            raise self.error(
                f"y_train has {len(y)} labels up to {count - 1}: give the number of classes as data.classes"
            )
        return count

    def _labels(self, key: str, y: np.ndarray) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise self.error(f"{key} has the shape {y.shape} and the type {y.dtype}: labels must be (N,) whole numbers")
        return y.astype(np.int64)

    def _inputs(self, key: str, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4):
            raise self.error(
                f"{key} has the shape {x.shape} and the type {x.dtype}: it must be numbers in 2, 3 or 4 dimensions"
            )
        if x.dtype != np.uint8:
            with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
                x = x.astype(np.float32, copy=False)
        if x.ndim == 3:
            return x[:, None]
        channels = (1, 3, 4)
        by_shape = "nhwc" if x.ndim == 4 and x.shape[3] in channels and x.shape[1] not in channels else "nchw"
        layout = by_shape if self.layout == "auto" else self.layout
        return np.moveaxis(x, -1, 1) if x.ndim == 4 and layout == "nhwc" else x
