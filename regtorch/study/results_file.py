"""Reading of ``results.json``: type and range of each entry are checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.settings import ANY_NUMBER, COUNT_OR_ZERO, FRACTION, NON_NEGATIVE, Range
from regtorch.system.untrusted import check_fields, load_json

NAME = "results.json"


_TEXT = Range("a text", lambda v: isinstance(v, str))
_NUMBERS = Range("a mapping of names to numbers, or null", lambda v: v is None or isinstance(v, dict))
_NUMBER = Range("a finite number", lambda v: v is None or ANY_NUMBER.holds(v))
_PARTS = ("train", "train_eval", "val", "test", "test_mc")
_TEXTS = Range("a list of texts", lambda v: isinstance(v, list) and all(isinstance(text, str) for text in v))

FIELDS: dict[str, Range] = {
    "status": Range("a word", lambda v: isinstance(v, str)),
    "reason": _TEXT,
    "seed": Range("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "overrides": _TEXTS,
    "epochs": COUNT_OR_ZERO,
    "seconds": NON_NEGATIVE,
    "parameters": COUNT_OR_ZERO,
    "sparsity": FRACTION,
    **dict.fromkeys(_PARTS, _NUMBERS),
}


def read_results(folder: Path) -> dict[str, Any]:
    """Read a run's ``results.json``.

    Raises:
        DataError: it is missing or invalid; the message names the file and the entry.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "results.json").write_text('{"status": "completed", "seconds": "[red]"}')
        ...     read_results(Path(folder))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.DataError: .../results.json is damaged (seconds=[red]: it must be a finite number >= 0); train that run again
    """
    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{folder}: there is no {NAME}; is it the folder of a run?")
    try:
        if not isinstance(content := load_json(path), dict):
            raise DataError("not a JSON object")
        results = check_fields(content, FIELDS, required=("status",))
        for part in _PARTS:
            measured = {f"{part}.{name}": value for name, value in (results.get(part) or {}).items()}
            check_fields(measured, dict.fromkeys(measured, _NUMBER))
        return results
    except DataError as error:
        raise DataError(f"{path} is damaged ({error}); train that run again") from error


def results_of(folder: Path) -> dict[str, Any]:
    """Read a run's ``results.json``; empty if there is no valid one."""
    try:
        return read_results(folder)
    except DataError:
        return {}
