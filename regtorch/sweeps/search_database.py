"""``search.db``, the trials of a search: checked before Optuna opens it, because its folder may be untrusted."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from regtorch.config.search_space import Dimension
from regtorch.errors import DataError

_MOST_BYTES = 256 * 2**20
_MOST_TRIALS = 100_000


def check_database(path: Path) -> None:
    """Refuse a file that is not a database of plain tables, or that is very large.

    Views and triggers are code that would run when tables are read or written.

    Raises:
        DataError: names the file.
    """
    if not path.exists():
        return
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path} is not the database of a search: it must be a file of at most {_MOST_BYTES:,} bytes")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            schema = database.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
            for kind, name, text in schema:
                if kind not in ("table", "index") or str(text).lstrip().upper().startswith("CREATE VIRTUAL"):
                    raise DataError(f"{path} is not the database of a search: it has a {kind} {name}")
            if "trials" in {name for _, name, _ in schema}:
                (count,) = database.execute("SELECT count(*) FROM trials").fetchone()
                if count > _MOST_TRIALS:
                    raise DataError(f"{path} is not the database of a search: it has {count:,} trials")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: it is not a database of a search ({error})") from error


def chosen(space: Sequence[Dimension], params: Mapping[str, Any], number: int) -> dict[str, str]:
    """Return a trial's parameters as override values; an untrusted database may hold anything under a key.

    Raises:
        DataError: a value is not in the space.

    Example:
        >>> chosen([Dimension("optimizer.lr", low=0.1, high=1.0)], {"optimizer.lr": 0.5}, 0)
        {'optimizer.lr': '0.5'}
        >>> chosen([Dimension("dropout", ("none", "alpha"))], {"dropout": "${oc.env:HOME}"}, 7)
        Traceback (most recent call last):
        regtorch.errors.DataError: trial 7 of the search has dropout=${oc.env:HOME}, which is not in dropout=choice(none, alpha)
    """
    found = {}
    for dimension in space:
        if dimension.key not in params:
            continue
        value = params[dimension.key]
        if not _is_in(dimension, value):
            raise DataError(
                f"trial {number} of the search has {dimension.key}={value}, which is not in {dimension.words()}"
            )
        found[dimension.key] = str(value)
    return found


def _is_in(dimension: Dimension, value: Any) -> bool:
    if dimension.choices:
        return value in dimension.choices
    if isinstance(value, bool) or not isinstance(value, int if dimension.integer else (int, float)):
        return False
    return math.isfinite(value) and dimension.low <= value <= dimension.high
