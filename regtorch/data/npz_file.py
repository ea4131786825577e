"""Read named arrays from a .npz file. Pickled objects are never loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.data.file_format import format_of, format_of_archive, is_zip
from regtorch.errors import DataError

_MOST_NAMES = 12
_LONGEST_NAME = 30


def listed(names: Sequence[str]) -> str:
    """Format names for a message: printable, each of limited length, and not too many.

    Example:
        >>> listed(["x", "y\\n"]), listed([])
        ("x, 'y\\\\n'", 'nothing')
    """
    shown = [name if name.isprintable() and name else repr(name) for name in names[:_MOST_NAMES]]
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..." for name in shown]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(shown) + more or "nothing"


def read_npz(
    path: Path, keys: Sequence[str], error: Callable[[str], DataError], made_by: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the arrays with these keys from a .npz file, and the names of all its arrays.

    Args:
        path: the file.
        keys: the keys; missing ones are ignored.
        error: makes the error, which names the setting of the path.
        made_by: how to create the right file.

    Raises:
        DataError: the file is missing, of another format or damaged, or a member is not a plain array.
    """
    if path.is_dir():
        raise error("is a folder, not a .npz file; images in folders by class are data=image_folder")
    if path.exists() and not path.is_file():
        raise error("is not a regular file; it must be a .npz file")
    if not path.is_file():
        raise error(f"there is no such file{_looked_for(path)}; it must be a .npz file: {made_by}")
    try:
        if not is_zip(path):
            name, remedy = format_of(path)
            raise error(f"cannot be read as a .npz file, it is {name}: {remedy}, then {made_by}")
        file = _opened(path, error, made_by)
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror or problem}") from problem
    with file:
        names = list(file.files)
        if not any(key in names for key in keys) and (known := format_of_archive(names)) is not None:
            raise error(f"cannot be read as a .npz file, it is {known[0]}: {known[1]}, then {made_by}")
        return {key: _member(file, key, error, made_by) for key in keys if key in names}, names


def _looked_for(path: Path) -> str:
    return "" if path.is_absolute() else f" in {Path.cwd()}"


def _opened(path: Path, error: Callable[[str], DataError], made_by: str) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as problem:  # zipfile and numpy raise many types for a damaged file
        raise error(
            f"cannot be read as a .npz file, it is damaged or incomplete ({type(problem).__name__}): copy it again, or {made_by}"
        ) from problem


def _member(file: Any, key: str, error: Callable[[str], DataError], made_by: str) -> np.ndarray:
    try:
        array = file[key]
    except MemoryError as problem:
        raise error(f"{key} needs more memory than there is: {problem}") from problem
    except ValueError as problem:
        if "allow_pickle" not in str(problem):
            raise error(f"{key} is damaged ({type(problem).__name__}): copy it again, or {made_by}") from problem
        raise error(
            f"{key} holds Python objects instead of plain arrays, and these are never loaded: {_without_objects(key)}"
        ) from problem
    except Exception as problem:  # zipfile, zlib and numpy raise many types for a damaged member
        raise error(f"{key} is damaged ({type(problem).__name__}): copy it again, or {made_by}") from problem
    if not isinstance(array, np.ndarray):
        raise error(f"{key} is not an array: {made_by}")
    return array


def _without_objects(key: str) -> str:
    if key.startswith("y"):
        return "save class numbers, y.astype(int); for strings, use names, y = numpy.unique(y.astype(str), return_inverse=True)"
    return "save plain numbers, x.astype(numpy.float32), or numpy.stack(x) for rows of one length"
