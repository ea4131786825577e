"""The user's arrays from a .npz file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits
from regtorch.data.labels import IN_PYTHON, class_numbers
from regtorch.data.memory import check_memory
from regtorch.data.npz_file import listed, read_npz
from regtorch.data.stored_type import ValueRange, check_one_kind, check_one_scale
from regtorch.registry import register

NEEDED = ("x_train", "y_train", "x_test", "y_test")
MADE_BY = "make it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


@register("data", "arrays")
@dataclass(kw_only=True, eq=False)
class Arrays(ArrayDataSet):
    """Any ``.npz`` file with `x_train`, `y_train`, `x_test`, `y_test`, and optionally `x_val`, `y_val`.

    x: (N, F) vectors, (N, H, W) gray images, or (N, H, W, C) or (N, C, H, W) images; uint8 is divided by 255, other
    numbers are not scaled. All parts have one kind of type: uint8, other integers, floats or booleans.
    y: (N,) or (N, 1) integers from 0, of any numeric type, or booleans.

    Args:
        path: the file.
        layout: layout of 4-d arrays: ``nchw``, ``nhwc``, or ``auto``: ``nhwc`` if only the last size is 1, 3 or 4.
        classes: number of classes; None means the largest label of `y_train` plus one.
        standardize: ``none``, ``train`` or ``all``: images per channel, vectors per feature.
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: the file is missing, of another format or damaged; a key is missing; lengths, shapes or types differ;
            labels are outside the classes; values are not finite; or the file holds Python objects, which are never loaded.
    """

    path: str | None = None
    layout: str = "auto"
    classes: int | None = None

    def read(self) -> Splits:
        """Read the arrays: x as uint8 or float32, y as int64."""
        if self.path is None:
            raise self.error(f"data.path is not given: it must be the name of a .npz file: {MADE_BY}")
        path = Path(self.path).expanduser()
        arrays, names = read_npz(path, (*NEEDED, "x_val", "y_val"), self.error, MADE_BY)
        val = {"x_val", "y_val"} & arrays.keys()
        for key in (*NEEDED, *(("x_val", "y_val") if val else ())):
            if key not in arrays:
                raise self.error(f"has no {key}; it has: {listed(names)}; {MADE_BY}")
        y = {
            part: class_numbers(f"y_{part}", arrays[f"y_{part}"], self.error)
            for part in ("train", *(["val"] if val else []), "test")
        }
        self.stored_type, self.stored_layout = arrays["x_train"].dtype, self._layout(arrays["x_train"])
        types = {f"x_{part}": arrays[f"x_{part}"].dtype for part in y}
        x = {f"x_{part}": self._inputs(f"x_{part}", arrays.pop(f"x_{part}")) for part in y}
        check_one_kind(types, self.error)
        if x["x_train"].dtype != np.uint8 and all(array.size for array in x.values()):
            check_one_scale({key: ValueRange.of(array) for key, array in x.items()}, self.error)
        parts = {part: Split(x[f"x_{part}"], labels) for part, labels in y.items()}
        return Splits(parts["train"], parts.get("val"), parts["test"], tuple(map(str, range(self._count(y["train"])))))

    def _count(self, y: np.ndarray) -> int:
        if self.classes is not None:
            check_memory(100 * self.classes, self.error, f"data.classes={self.classes}")
        count = self.classes or (int(y.max()) + 1 if len(y) else 0)
        if self.classes is None and not 2 <= count <= max(2, len(y)):
            remedy = "" if count < 2 else ", or convert them to 0, 1, 2, ... with numpy.unique(y, return_inverse=True)"
            remedy = f"{remedy}; {IN_PYTHON}" if count > 2 else remedy
            raise self.error(
                f"y_train has {len(y)} labels up to {count - 1}: give the number of classes as data.classes{remedy}"
            )
        return count

    def _inputs(self, key: str, x: np.ndarray) -> np.ndarray:
        """Convert an array to rows of uint8 or float32, with images as (N, C, H, W)."""
        if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4):
            raise self.error(
                f"{key} has the shape {x.shape} and the type {str(x.dtype)[:40]}: it must consist of numbers and have 2, 3 or 4 "
                f"dimensions{_remedy(key, x)}"
            )
        if x.dtype != np.uint8:
            with np.errstate(over="ignore"):  # values beyond float32 are reported as infinite
                x = x.astype(np.float32, copy=False)
        layout = self._layout(x)
        return x[:, None] if layout == "nhw" else np.moveaxis(x, -1, 1) if layout == "nhwc" else x

    def _layout(self, x: np.ndarray) -> str:
        """The order of an array's dimensions, as `Preprocessing` has it."""
        if x.ndim != 4:
            return "nhw" if x.ndim == 3 else "nchw"
        channels = (1, 3, 4)
        by_shape = "nhwc" if x.shape[3] in channels and x.shape[1] not in channels else "nchw"
        return by_shape if self.layout == "auto" else self.layout


def _remedy(key: str, x: np.ndarray) -> str:
    if x.dtype.kind == "c":
        return f"; take numpy.abs({key}), or real and imaginary parts as features"
    if x.dtype.kind in "USO":
        return "; convert strings to numbers first, for example with one-hot encoding"
    if x.dtype.kind not in "biuf":
        return f"; {key}.astype(numpy.float32) may help"
    if x.ndim == 1:
        return f"; {key}.reshape(-1, 1) has one feature per row"
    return f"; {key}.reshape(len({key}), -1) makes vectors"
