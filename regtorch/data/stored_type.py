"""One scaling for all parts of a data set: their stored types must be of one kind, and their values on one scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from regtorch.errors import DataError

_UNDIVIDED = 32  # pixels from 0 to 255 that are all below this are rare
_CENTRED = 3  # pixels minus their mean, by their deviation, are within this


def kind_of(dtype: np.dtype | type | str) -> str:
    """What a type's numbers stand for: pixels (uint8, which are divided by 255), booleans, whole numbers or floats.

    Types of one kind differ in their width or byte order only, and give the same numbers.

    Example:
        >>> kind_of(np.dtype(">f4")) == kind_of(np.float64), kind_of(np.uint8) == kind_of(np.int64)
        (True, False)
    """
    dtype = np.dtype(dtype)
    if dtype == np.uint8:
        return "pixels"
    return {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}.get(dtype.kind, dtype.kind)


def meaning(dtype: np.dtype | type | str) -> str:
    """A type as a message names it.

    Example:
        >>> meaning("uint8"), meaning("float32")
        ('uint8 (pixels, divided by 255)', 'float32 (taken as they are)')
    """
    dtype = np.dtype(dtype)
    name = dtype.newbyteorder("=").name
    return f"{name} ({'pixels, divided by 255' if dtype == np.uint8 else 'taken as they are'})"


def check_one_kind(types: Mapping[str, np.dtype], error: Callable[[str], DataError]) -> None:
    """Refuse parts whose numbers would be scaled or read differently.

    Args:
        types: name of an array, such as ``x_train`` -> its type as stored; the first one is what others must be.
        error: makes the error about the file.

    Raises:
        DataError: it names both arrays and both types.
    """
    first = next(iter(types))
    for key, dtype in types.items():
        if kind_of(dtype) != kind_of(types[first]):
            wanted = types[first].newbyteorder("=").name
            raise error(
                f"{first} is {meaning(types[first])}, and {key} is {meaning(dtype)}: all parts must have one type; "
                f"save both alike, {key}.astype('{wanted}') if its values are on the same scale"
            )


@dataclass(frozen=True)
class ValueRange:
    """The smallest and the largest of some numbers, and whether there are fractions among them."""

    low: float
    high: float
    fractions: bool

    @classmethod
    def of(cls, x: np.ndarray) -> ValueRange:
        """The range of an array with finite values, one at least."""
        fractions = x.dtype.kind == "f" and bool((x != np.floor(x)).any())
        return cls(float(x.min()), float(x.max()), fractions)

    def __str__(self) -> str:
        return f"{'' if self.fractions else 'whole '}numbers from {self.low:g} to {self.high:g}"

    @property
    def divided(self) -> bool:
        """Whether it looks like pixels that were divided by 255, or scaled to [-1, 1] or by a mean and a deviation."""
        within = 1 if self.low >= 0 else _CENTRED
        return self.fractions and max(-self.low, self.high) <= within

    @property
    def undivided(self) -> bool:
        """Whether it looks like pixels as they are."""
        return not self.fractions and self.low >= 0 and _UNDIVIDED < self.high <= 255


def check_one_scale(ranges: Mapping[str, ValueRange], error: Callable[[str], DataError]) -> None:
    """Refuse whole numbers from 0 to 255 beside fractions from 0 to 1, or about 0: pixels of which one part was scaled.

    Args:
        ranges: name of an array -> the range of its values; the first one is what others must be like.
        error: makes the error about the file.

    Raises:
        DataError: it names both arrays and both ranges.
    """
    first = next(iter(ranges))
    for key, values in ranges.items():
        undivided = [name for name in (first, key) if ranges[name].undivided]
        if len(undivided) == 1 and any(ranges[name].divided for name in (first, key)):
            by = "divide {} by 255 too" if min(ranges[first].low, values.low) >= 0 else "scale {} as the other was"
            raise error(
                f"{first} has {ranges[first]}, and {key} {values}: they look like pixels on two scales; "
                f"{by.format(undivided[0])}, or neither"
            )
