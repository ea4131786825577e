"""What a setting may be, by its name: the one place where ranges are written; needs no torch.

Classes check their arguments here, and the command line checks a whole configuration here before
anything heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regtorch.errors import SettingError


@dataclass(frozen=True)
class Range:
    """A set of allowed values and the words for it."""

    words: str
    holds: Callable[[Any], bool]

    def check(self, key: str, value: Any) -> None:
        """Raise a `SettingError` that names key, value and range unless the value is allowed."""
        if not self.holds(value):
            raise SettingError(f"{key}={value} is not allowed: it must be {self.words}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(*choices: Any) -> Range:
    """One of the listed values."""
    return Range("one of " + ", ".join(map(str, choices)), lambda v: any(type(v) is type(c) and v == c for c in choices))


ANY_NUMBER = Range("a finite number", _number)
NON_NEGATIVE = Range("a number >= 0", lambda v: _number(v) and v >= 0)
POSITIVE = Range("a number > 0", lambda v: _number(v) and v > 0)
PROBABILITY = Range("a probability from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
DROP_BELOW_ONE = Range("a probability from 0 to below 1 (at 1 nothing is left that could keep the variance)", lambda v: _number(v) and 0 <= v < 1)
KEEP_ABOVE_ZERO = Range("a probability from above 0 to 1 (at 0 nothing is left that could keep the variance)", lambda v: _number(v) and 0 < v <= 1)
FRACTION = Range("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
FRACTION_BELOW_ONE = Range("a number from 0 to below 1", lambda v: _number(v) and 0 <= v < 1)
COUNT = Range("a whole number >= 1", lambda v: _whole(v) and v >= 1)
COUNT_OR_ZERO = Range("a whole number >= 0", lambda v: _whole(v) and v >= 0)
SWITCH = Range("true or false", lambda v: isinstance(v, bool))

#: a setting's name -> what it may be, wherever it appears
RANGES: dict[str, Range] = {
    "l1": NON_NEGATIVE,
    "l2": NON_NEGATIVE,
    "factor": NON_NEGATIVE,
    "strength": NON_NEGATIVE,
    "drop_prob": PROBABILITY,
    "keep_prob": PROBABILITY,
    "std": NON_NEGATIVE,
    "max_value": POSITIVE,
    "min_value": NON_NEGATIVE,
    "rate": FRACTION,
    "block_size": COUNT,
}


def check(prefix: str = "", **settings: Any) -> None:
    """Check each setting against the range of its name; a setting without a range passes.

    Args:
        prefix: put before the key in the message, e.g. ``"regularizer."``.
        **settings: name -> value.

    Raises:
        SettingError: the first value outside its range.

    Example:
        >>> check(l1=0.1, drop_prob=0.5)
        >>> check("dropout.", drop_prob=1.5)
        Traceback (most recent call last):
        regtorch.errors.SettingError: dropout.drop_prob=1.5 is not allowed: it must be a probability from 0 to 1
    """
    for key, value in settings.items():
        if key in RANGES:
            RANGES[key].check(prefix + key, value)
