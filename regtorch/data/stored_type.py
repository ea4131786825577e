"""Checks that all parts of a data set have one scale: one kind of stored type, and values in similar ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from regtorch.errors import DataError

_CENTERED = 3  # pixels minus their mean, divided by their deviation, stay within this
_UNDIVIDED = 32  # images with integer pixels are rarely below this value everywhere


def kind_of(dtype: np.dtype | type | str) -> str:
    """The kind of a type: pixels (uint8, which are divided by 255), booleans, integers or floats.

    Types of one kind differ only in their width or byte order.

    Example:
        >>> kind_of(np.dtype(">f4")) == kind_of(np.float64), kind_of(np.uint8) == kind_of(np.int64)
        (True, False)
    """
    dtype = np.dtype(dtype)
    if dtype == np.uint8:
        return "pixels"
    return {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}.get(dtype.kind, dtype.kind)


def meaning(dtype: np.dtype | type | str) -> str:
    """Describe a type for a message.

    Example:
        >>> meaning("uint8"), meaning("float32")
        ('uint8 (pixels, divided by 255)', 'float32 (not scaled)')
    """
    dtype = np.dtype(dtype)
    name = dtype.newbyteorder("=").name
    return f"{name} ({'pixels, divided by 255' if dtype == np.uint8 else 'not scaled'})"


def check_one_kind(types: Mapping[str, np.dtype], error: Callable[[str], DataError]) -> None:
    """Refuse parts whose numbers would be scaled differently.

    Args:
        types: name of an array, such as ``x_train`` -> its stored type; all must be of the kind of the first one.
        error: makes the error about the file.

    Raises:
        DataError: the kinds differ; the message names both arrays and both types.
    """
    first = next(iter(types))
    for key, dtype in types.items():
        if kind_of(dtype) != kind_of(types[first]):
            wanted = types[first].newbyteorder("=").name
            raise error(
                f"{first} is {meaning(types[first])}, but {key} is {meaning(dtype)}: all parts must have one type; "
                f"save both with one type, {key}.astype('{wanted}') if its values are on the same scale"
            )


@dataclass(frozen=True)
class ValueRange:
    """The minimum and maximum of some numbers, and whether some are not integers."""

    low: float
    high: float
    fractions: bool

    @classmethod
    def of(cls, x: np.ndarray) -> ValueRange:
        """Return the range of a non-empty array with finite values."""
        fractions = x.dtype.kind == "f" and bool((x != np.floor(x)).any())
        return cls(float(x.min()), float(x.max()), fractions)

    def __str__(self) -> str:
        return f"{'numbers' if self.fractions else 'integers'} from {self.low:g} to {self.high:g}"

    @property
    def divided(self) -> bool:
        """Whether it looks like pixels that were divided by 255, or scaled to [-1, 1] or by a mean and a deviation."""
        within = 1 if self.low >= 0 else _CENTERED
        return self.fractions and max(-self.low, self.high) <= within

    @property
    def undivided(self) -> bool:
        """Whether the range looks like pixels that were not divided."""
        return not self.fractions and self.low >= 0 and _UNDIVIDED < self.high <= 255


def check_one_scale(ranges: Mapping[str, ValueRange], error: Callable[[str], DataError]) -> None:
    """Refuse integers from 0 to 255 together with fractions from 0 to 1, or around 0: only one part of the pixels was scaled.

    Args:
        ranges: name of an array -> the range of its values; all are compared with the first one.
        error: makes the error about the file.

    Raises:
        DataError: the scales differ; the message names both arrays and both ranges.
    """
    first = next(iter(ranges))
    for key, values in ranges.items():
        undivided = [name for name in (first, key) if ranges[name].undivided]
        if len(undivided) == 1 and any(ranges[name].divided for name in (first, key)):
            by = "divide {} by 255 too" if min(ranges[first].low, values.low) >= 0 else "scale {} as the other was"
            raise error(
                f"{first} has {ranges[first]}, but {key} has {values}: they look like pixels on two scales; "
                f"{by.format(undivided[0])}, or neither"
            )
