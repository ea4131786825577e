"""Labels as people have them, made into class numbers, or refused with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from regtorch.errors import DataError

#: what to do where the shell's classification is not what is wanted
IN_PYTHON = "for a regression or another loss, use regtorch.training.RegularizedModule in Python"
_NUMBERED = "numpy.unique(y, return_inverse=True)"
_MOST_NAMED = 10
_LARGEST = 2.0**53  # beyond it floats skip whole numbers


def class_numbers(key: str, y: np.ndarray, error: Callable[[str], DataError]) -> np.ndarray:
    """Labels as (N,) int64.

    Args:
        key: of the array, for messages.
        y: (N,) or (N, 1) whole numbers of any numeric type, or booleans.
        error: makes the error about the file.

    Raises:
        DataError: strings, one-hot rows, fractions, NaN and the like; the line says what to do.

    Example:
        >>> class_numbers("y", np.array([[0.0], [2.0]]), DataError)
        array([0, 2])
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind in "USO":
        raise error(
            f"{key} holds strings: labels must be class numbers: names, y = {_NUMBERED} makes them for the training "
            "part, numpy.searchsorted(names, y) for the others"
        )
    if y.dtype.kind not in "biuf":
        raise error(
            f"{key} has the type {_named(y.dtype)}: labels must be whole numbers from 0; {_NUMBERED} makes them"
        )
    if y.ndim != 1:
        raise error(f"{key} has the shape {y.shape}, and labels must be (N,): {_for_shape(y)}")
    if y.dtype.kind == "f":
        _check_whole(key, y, error)
    if len(y) and y.dtype.kind == "u" and y.max() > np.iinfo(np.int64).max:
        raise error(f"{key} has the label {y.max()}: labels are numbers from 0; {_NUMBERED} makes them")
    return y.astype(np.int64)


def _named(dtype: np.dtype[Any]) -> str:
    text = str(dtype)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _for_shape(y: np.ndarray) -> str:
    if y.ndim != 2 or not y.size:
        return "y.ravel() if there is one label a row" if y.ndim and y.size == max(y.shape) else "one label a row"
    sums = y.astype(np.float64).sum(1)
    if ((y == 0) | (y == 1)).all() and (sums == 1).all():
        return "these are one-hot, y.argmax(1) makes numbers of them"
    if (y >= 0).all() and np.allclose(sums, 1, atol=1e-3):
        return "these are probabilities, y.argmax(1) makes numbers of them"
    if y.shape[0] == 1:
        return "y.ravel() if there is one label a row"
    return f"take one column, or y.argmax(1) if the largest is the class; {IN_PYTHON}"


def _check_whole(key: str, y: np.ndarray, error: Callable[[str], DataError]) -> None:
    wrong = np.flatnonzero(~np.isfinite(y))
    if len(wrong):
        raise error(
            f"{key} has {len(wrong)} NaN or infinite labels, the first in row {wrong[0]}: remove these rows of x and y, "
            "as y = y[numpy.isfinite(y)] does"
        )
    wrong = np.flatnonzero(y != np.floor(y))
    if len(wrong):
        raise error(
            f"{key} has {len(wrong)} labels that are no whole numbers, the first is {y[wrong[0]]:g} in row {wrong[0]}: "
            f"labels are class numbers; {IN_PYTHON}"
        )
    wrong = np.flatnonzero(np.abs(y.astype(np.float64)) >= _LARGEST)
    if len(wrong):
        raise error(
            f"{key} has the label {y[wrong[0]]:g} in row {wrong[0]}: labels are numbers from 0; {_NUMBERED} makes them"
        )


def check_range(key: str, y: np.ndarray, classes: int, error: Callable[[str], DataError]) -> None:
    """Refuse labels outside 0 to `classes` - 1.

    Raises:
        DataError: it names the first.
    """
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if len(outside):
        remedy = f"{_NUMBERED} makes them"
        if set(np.unique(y).tolist()) == {-1, 1}:
            remedy = "(y > 0).astype(int) makes them of -1 and 1"
        raise error(
            f"{key} has {len(outside)} labels outside the {classes} classes, the first is {y[outside[0]]} in row "
            f"{outside[0]}: labels are 0 to {classes - 1}; {remedy}"
        )


def missing_classes(y: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Advice on classes that no training row has, as `regtorch.advice.advise` gives it.

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
    remedy = "give each class a row"
    if classes == tuple(map(str, range(len(classes)))):
        first = int(np.flatnonzero(present)[0])
        shifted = first > 0 and present[first:].all()
        remedy = (f"labels begin with {first}: take y - {first}, or " if shifted else "take ") + _NUMBERED
    text = f"no training row has class {shown}{more} of {len(classes)} classes; if that is not meant, {remedy}"
    return [{"text": text, "source": "the labels of the training rows", "class": missing[:100]}]
