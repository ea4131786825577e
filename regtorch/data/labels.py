"""Convert labels to class numbers, or refuse them with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from regtorch.errors import DataError

#: remedy for tasks other than the classification of the command line
IN_PYTHON = "for a regression or another loss, use regtorch.training.RegularizedModule in Python"
_NUMBERED = "numpy.unique(y, return_inverse=True)"
_MOST_NAMED = 10
_LARGEST = 2.0**53  # from here on, floats cannot represent all integers


def class_numbers(key: str, y: np.ndarray, error: Callable[[str], DataError]) -> np.ndarray:
    """Convert labels to (N,) int64.

    Args:
        key: name of the array, for messages.
        y: (N,) or (N, 1) integers of any numeric type, or booleans.
        error: makes the error about the file.

    Raises:
        DataError: y has strings, one-hot rows, fractions, NaN or similar; the message names a remedy.

    Example:
        >>> class_numbers("y", np.array([[0.0], [2.0]]), DataError)
        array([0, 2])
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind in "USO":
        raise error(
            f"{key} holds strings: labels must be class numbers; create them with names, y = {_NUMBERED} for the "
            "training part, and with numpy.searchsorted(names, y) for the others"
        )
    if y.dtype.kind not in "biuf":
        raise error(
            f"{key} has the type {_named(y.dtype)}: labels must be integers from 0; create them with {_NUMBERED}"
        )
    if y.ndim != 1:
        raise error(f"{key} has the shape {y.shape}, but labels must be (N,): {_for_shape(y)}")
    if y.dtype.kind == "f":
        _check_integers(key, y, error)
    if len(y) and y.dtype.kind == "u" and y.max() > np.iinfo(np.int64).max:
        raise error(f"{key} has the label {y.max()}: labels must be integers from 0; create them with {_NUMBERED}")
    return y.astype(np.int64)


def _named(dtype: np.dtype[Any]) -> str:
    text = str(dtype)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _for_shape(y: np.ndarray) -> str:
    if y.ndim != 2 or not y.size:
        return "y.ravel() if there is one label per row" if y.ndim and y.size == max(y.shape) else "one label per row"
    sums = y.astype(np.float64).sum(1)
    if ((y == 0) | (y == 1)).all() and (sums == 1).all():
        return "these are one-hot, y.argmax(1) converts them"
    if (y >= 0).all() and np.allclose(sums, 1, atol=1e-3):
        return "these are probabilities, y.argmax(1) converts them"
    if y.shape[0] == 1:
        return "y.ravel() if there is one label per row"
    return f"take one column, or y.argmax(1) if the largest is the class; {IN_PYTHON}"


def _check_integers(key: str, y: np.ndarray, error: Callable[[str], DataError]) -> None:
    wrong = np.flatnonzero(~np.isfinite(y))
    if len(wrong):
        raise error(
            f"{key} has {len(wrong)} NaN or infinite labels, the first in row {wrong[0]}: remove these rows of x and y, "
            "for example with y = y[numpy.isfinite(y)]"
        )
    wrong = np.flatnonzero(y != np.floor(y))
    if len(wrong):
        raise error(
            f"{key} has {len(wrong)} labels that are not integers, the first is {y[wrong[0]]:g} in row {wrong[0]}: "
            f"labels are class numbers; {IN_PYTHON}"
        )
    wrong = np.flatnonzero(np.abs(y.astype(np.float64)) >= _LARGEST)
    if len(wrong):
        raise error(
            f"{key} has the label {y[wrong[0]]:g} in row {wrong[0]}: labels must be integers from 0; create them with {_NUMBERED}"
        )


def check_range(key: str, y: np.ndarray, classes: int, error: Callable[[str], DataError]) -> None:
    """Refuse labels outside 0 to `classes` - 1.

    Raises:
        DataError: some are outside; the message names the first one.
    """
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if len(outside):
        remedy = f"create them with {_NUMBERED}"
        if set(np.unique(y).tolist()) == {-1, 1}:
            remedy = "convert -1 and 1 with (y > 0).astype(int)"
        raise error(
            f"{key} has {len(outside)} labels outside the {classes} classes, the first is {y[outside[0]]} in row "
            f"{outside[0]}: labels must be 0 to {classes - 1}; {remedy}"
        )


def missing_classes(y: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Advice on classes without training rows, in the format of `regtorch.registry.advice.advise`.

    Args:
        y: (N,) class numbers of the training rows.
        classes: names of the classes.

    Returns:
        One ``{"text": ..., "source": ..., "class": [names]}``, or an empty list.

    Example:
        >>> [advice["class"] for advice in missing_classes(np.array([1, 2, 1]), ("0", "1", "2"))]
        [['0']]
        >>> missing_classes(np.array([0, 1]), ("0", "1"))
        []
    """
    present = np.zeros(len(classes), bool)
    present[y] = True
    missing = [classes[index] for index in np.flatnonzero(~present)]
    if not missing:
        return []
    shown = ", ".join(name if len(name) <= 30 else f"{name[:27]}..." for name in missing[:_MOST_NAMED])
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    remedy = "add a row for each class"
    if classes == tuple(map(str, range(len(classes)))):
        first = int(np.flatnonzero(present)[0])
        shifted = first > 0 and present[first:].all()
        remedy = (f"labels start at {first}: use y - {first}, or " if shifted else "use ") + _NUMBERED
    text = f"no training row has class {shown}{more} of {len(classes)} classes; if that is not intended, {remedy}"
    return [{"text": text, "source": "the labels of the training rows", "class": missing[:100]}]
