"""The preprocessing of a row between the file and the network, for data sets, checkpoints and exports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regtorch.data.splits import Split
from regtorch.data.stored_type import ValueRange, kind_of
from regtorch.errors import DataError

#: the order of a stored image's dimensions; ``nhw`` are gray images without channels
LAYOUTS = ("nchw", "nhwc", "nhw")


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The network's input is ``(x - mean) / std`` for a stored row x, or ``x / 255`` for pixels that are not standardized.

    Args:
        dtype: type of the stored training rows; rows of another kind of type have another scale.
        mean: mean in units of the stored values, with a shape that broadcasts over a row; None: not standardized.
        std: standard deviation, with the same units and shape; None: not standardized.
        values: range of the stored training rows; None for pixels.
        layout: of stored images, one of `LAYOUTS`; the network's are ``nchw``.
    """

    dtype: str
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    values: ValueRange | None = None
    layout: str = "nchw"

    @property
    def pixels(self) -> bool:
        """Whether rows are pixels from 0 to 255."""
        return kind_of(self.dtype) == "pixels"

    @property
    def changes(self) -> bool:
        """Whether the network's input differs from the stored row."""
        return self.pixels or self.mean is not None or self.layout != "nchw"

    def applied(self, split: Split) -> Split:
        """Return a part whose batches are the network's input. Pixels stay uint8 until they are fetched."""
        if self.mean is None or self.std is None:
            return split
        if split.x.dtype == np.uint8:
            scaling = ((self.mean / 255).astype(np.float32), (self.std / 255).astype(np.float32))
            return replace(split, scaling=scaling)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            return replace(split, x=((np.asarray(split.x) - self.mean) / self.std).astype(np.float32))

    def undone(self, x: np.ndarray) -> np.ndarray:
        """Return rows of a prepared part in the units of the stored rows."""
        if self.mean is None or self.std is None or x.dtype == np.uint8:
            return x
        stored: np.ndarray = (x * self.std + self.mean).astype(np.float32)
        return stored

    def described(self) -> dict[str, Any]:
        """Return the preprocessing as plain containers, for a checkpoint."""
        described: dict[str, Any] = {"dtype": self.dtype, "mean": None, "std": None, "shape": None, "values": None}
        if self.mean is not None and self.std is not None:
            described |= {"mean": self.mean.ravel().tolist(), "std": self.std.ravel().tolist()}
            described["shape"] = list(self.mean.shape)
        if self.values is not None:
            described["values"] = [self.values.low, self.values.high, self.values.fractions]
        described["layout"] = self.layout
        return described

    @classmethod
    def from_described(cls, described: object, row: Sequence[int]) -> Preprocessing:
        """Invert `described`. A checkpoint may be untrusted, so types and sizes are checked.

        Args:
            described: plain containers.
            row: the shape of a row.

        Raises:
            DataError: `described` does not return such containers for such rows.

        Example:
            >>> known = Preprocessing("float32", np.array([1.0, 2.0]), np.array([3.0, 4.0]))
            >>> Preprocessing.from_described(known.described(), (2,)).mean
            array([1., 2.])
        """
        try:
            return cls._checked(described, tuple(row))
        except (TypeError, ValueError, KeyError) as error:
            raise DataError("its description of the preprocessing does not have the format of regtorch") from error

    @classmethod
    def _checked(cls, described: Any, row: tuple[int, ...]) -> Preprocessing:
        if (
            not isinstance(described, Mapping)
            or not isinstance(described["dtype"], str)
            or len(described["dtype"]) > 40
        ):
            raise TypeError
        np.dtype(described["dtype"])
        values = None
        if described["values"] is not None:
            low, high, fractions = described["values"]
            if not isinstance(low, float) or not isinstance(high, float):
                raise TypeError
            values = ValueRange(low, high, bool(fractions))
        layout = described.get("layout", "nchw")  # older versions did not say
        if layout not in LAYOUTS or (layout != "nchw" and len(row) != 3) or (layout == "nhw" and row[0] != 1):
            raise ValueError
        if described["mean"] is None:
            return cls(described["dtype"], values=values, layout=layout)
        shape = tuple(described["shape"])
        if len(shape) != len(row) or any(size not in (1, of_row) for size, of_row in zip(shape, row, strict=True)):
            raise ValueError
        mean, std = (_numbers(described[name], shape) for name in ("mean", "std"))
        if not (std > 0).all():
            raise ValueError
        return cls(described["dtype"], mean, std, values, layout)


def _numbers(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(given, list) or len(given) != math.prod(shape) or not all(isinstance(v, float) for v in given):
        raise TypeError
    array = np.array(given, np.float64).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError
    return array
