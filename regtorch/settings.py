"""The allowed values of each setting, by its name; needs no torch.

Classes check their arguments here, and the command line checks an entire configuration here before
anything heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from typing import Any

from regtorch.errors import SettingError

_MOST = 2**63 - 1  # the largest integer of torch and NumPy


@dataclass(frozen=True)
class Range:
    """A set of allowed values and its description."""

    words: str
    holds: Callable[[Any], bool]

    def check(self, key: str, value: Any) -> None:
        """Raise a `SettingError` that names key, value and range unless the value is allowed."""
        if not self.holds(value):
            most = ", and below 2**63" if isinstance(value, int) and abs(value) > _MOST else ""
            raise SettingError(f"{key}={shown(value)} is not allowed: it must be {self.words}{most}")


def shown(value: Any) -> str:
    """Format a value for a message: strings without quotes, unless they would look like another type.

    Example:
        >>> shown("max"), shown("5"), shown(5)
        ('max', "'5'", '5')
    """
    if not isinstance(value, str):
        return str(value)
    try:
        float(value)
    except ValueError:
        return repr(value) if value.strip().lower() in ("", "none", "null", "true", "false") else value
    return repr(value)


def _number(value: Any) -> bool:
    if isinstance(value, Integral):
        return _integer(value)
    return isinstance(value, Real) and math.isfinite(value)


def _integer(value: Any) -> bool:
    # NumPy integers are Integral too
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) <= _MOST


def _counts(value: Any, *lengths: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) in lengths and all(_integer(v) and v >= 1 for v in value)


def one_of(*choices: Any) -> Range:
    """One of the listed values."""
    return Range(
        "one of " + ", ".join(map(str, choices)), lambda v: any(type(v) is type(c) and v == c for c in choices)
    )


ANY_NUMBER = Range("a finite number", _number)
NON_NEGATIVE = Range("a finite number >= 0", lambda v: _number(v) and v >= 0)
POSITIVE = Range("a finite number > 0", lambda v: _number(v) and v > 0)
PROBABILITY = Range("a probability from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
DROP_BELOW_ONE = Range(
    "a probability from 0 to below 1 (at 1 nothing is left to preserve the variance)",
    lambda v: _number(v) and 0 <= v < 1,
)
KEEP_ABOVE_ZERO = Range(
    "a probability from above 0 to 1 (at 0 nothing is left to preserve the variance)",
    lambda v: _number(v) and 0 < v <= 1,
)
LEARNABLE = Range(
    "a probability above 0 and below 1 (it cannot be learned from 0 or 1)", lambda v: _number(v) and 0 < v < 1
)
FRACTION = Range("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
FRACTION_BELOW_ONE = Range("a number from 0 to below 1", lambda v: _number(v) and 0 <= v < 1)
COUNT = Range("an integer >= 1", lambda v: _integer(v) and v >= 1)
COUNT_OR_ZERO = Range("an integer >= 0", lambda v: _integer(v) and v >= 0)
DIMS = Range(
    "null, a dimension or a list of dimensions",
    lambda v: v is None or _integer(v) or (isinstance(v, (list, tuple)) and len(v) > 0 and all(map(_integer, v))),
)
COUNT_FROM_TWO = Range("an integer >= 2", lambda v: _integer(v) and v >= 2)
INSIDE_ZERO_ONE = Range("a number above 0 and below 1", lambda v: _number(v) and 0 < v < 1)
CLASS_DIM = Range("a dimension other than 0, the batch, or None", lambda v: v is None or (_integer(v) and v != 0))
SEED = Range("an integer from 0 to 4294967295", lambda v: _integer(v) and 0 <= v < 2**32)
PATH = Range("the name of a file or folder", lambda v: isinstance(v, (str, PathLike)) and str(v) != "")
SWITCH = Range("true or false", lambda v: isinstance(v, bool))

#: a setting's name -> its allowed values, in all components
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
    "dims": DIMS,
    "block_size": COUNT,
    "couple_channels": SWITCH,
    "temperature": POSITIVE,
    "batch_first": SWITCH,
    "weight_regularizer": NON_NEGATIVE,
    "dropout_regularizer": NON_NEGATIVE,
    # data and augmentation
    "batch_size": COUNT,
    "workers": COUNT_OR_ZERO,
    "reshuffle": SWITCH,
    "changed": one_of("refuse", "allow"),
    "validation_fraction": FRACTION_BELOW_ONE,
    "test_fraction": INSIDE_ZERO_ONE,
    "split_seed": SEED,
    "path": PATH,
    "standardize": one_of("none", "train", "all"),
    "layout": one_of("auto", "nchw", "nhwc"),
    "classes": COUNT_FROM_TWO,
    "image_size": Range("[height, width], two integers >= 1", lambda v: _counts(v, 2)),
    "row_shape": Range("[features] or [channels, height, width], integers >= 1", lambda v: _counts(v, 1, 3)),
    "rows": COUNT,
    "noise": NON_NEGATIVE,
    "flip_prob": PROBABILITY,
    "padding": COUNT_OR_ZERO,
    "length": COUNT,
    # initializers and activations
    "scale": POSITIVE,
    "gain": ANY_NUMBER,
    "mean": ANY_NUMBER,
    "value": ANY_NUMBER,
    "low": ANY_NUMBER,
    "high": ANY_NUMBER,
    "negative_slope": NON_NEGATIVE,
    "num_parameters": COUNT,
    "alpha": POSITIVE,
    "approximate": one_of("none", "tanh"),
    # optimizers and schedulers
    "lr": POSITIVE,
    "momentum": FRACTION_BELOW_ONE,
    "rho": FRACTION_BELOW_ONE,
    "beta1": FRACTION_BELOW_ONE,
    "beta2": FRACTION_BELOW_ONE,
    "epsilon": POSITIVE,
    "weight_decay": NON_NEGATIVE,
    "initial_accumulator_value": NON_NEGATIVE,
    "decay": Range("a number above 0, at most 1", lambda v: _number(v) and 0 < v <= 1),
    "every": COUNT,
    "patience": COUNT_OR_ZERO,
    "min_lr": NON_NEGATIVE,
    "warmup_fraction": FRACTION,
    "monitor": one_of("val_loss", "val_accuracy"),
    # schedules of strengths and probabilities
    "start": NON_NEGATIVE,
    "end": NON_NEGATIVE,
    "every_fraction": Range("a number above 0, at most 1", lambda v: _number(v) and 0 < v <= 1),
    "total_steps": COUNT,
    "steps_taken": COUNT_OR_ZERO,
}


#: names for the ranges of the classes that declare their own: ``ranges = {"drop_prob": DROP_BELOW_ONE}``
COUNTS = Range(
    "a non-empty list of integers >= 1",
    lambda v: isinstance(v, (list, tuple)) and len(v) > 0 and _counts(v, len(v)),
)
COUNTS_OR_EMPTY = Range("a list of integers >= 1", lambda v: isinstance(v, (list, tuple)) and _counts(v, len(v)))
ODD_COUNT = Range("an odd integer >= 1", lambda v: _integer(v) and v >= 1 and v % 2 == 1)
SWITCH_OR_NULL = Range("true, false or null", lambda v: v is None or isinstance(v, bool))
#: of a dropout that cannot preserve the variance if it drops everything
NEEDS_SOME_KEPT = {"drop_prob": DROP_BELOW_ONE, "keep_prob": KEEP_ABOVE_ZERO}
#: of a model whose layers may have batch normalization
LAYER_ORDER = {
    "shape": COUNTS,
    "classes": COUNT,
    "batch_norm": one_of("none", "before", "after", "after_dropout"),
    "input_batch_norm": SWITCH,
    "bias": SWITCH_OR_NULL,
}


def check(prefix: str = "", *, ranges: Mapping[str, Range] | None = None, **settings: Any) -> None:
    """Check each setting against the range of its name; a setting without a range passes.

    Args:
        prefix: put before the key in the message, e.g. ``"regularizer."``.
        ranges: name -> range of the settings that have a special meaning here, usually the class's `ranges`.
        **settings: name -> value.

    Raises:
        SettingError: a value is outside its range; the first one is reported.

    Example:
        >>> check(l1=0.1, drop_prob=0.5)
        >>> check("dropout.", drop_prob=1.5)
        Traceback (most recent call last):
        regtorch.errors.SettingError: dropout.drop_prob=1.5 is not allowed: it must be a probability from 0 to 1
    """
    check_each(settings, ranges or {}, prefix)


def check_each(values: Mapping[str, Any], ranges: Mapping[str, Range], prefix: str = "") -> None:
    """`check` of settings with any names, also those of its arguments.

    Example:
        >>> check_each({"prefix": "a", "drop_prob": 1.5}, {})
        Traceback (most recent call last):
        regtorch.errors.SettingError: drop_prob=1.5 is not allowed: it must be a probability from 0 to 1
    """
    for key, value in values.items():
        allowed = ranges.get(key) or RANGES.get(key)
        if allowed is not None:
            allowed.check(prefix + key, value)
