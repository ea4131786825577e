"""Quoting of overrides, for Hydra and for the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

#: text that needs no quotes, neither for Hydra nor for a shell
_PLAIN = re.compile(
    r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w.-]*|[\w.@%+-]*/[\w.@%+/-]*", re.ASCII | re.IGNORECASE
)


def is_for_hydra(override: str) -> bool:
    """Whether an override configures Hydra, that is how runs are started, not the runs themselves.

    Example:
        >>> is_for_hydra("+hydra.launcher.n_jobs=2"), is_for_hydra("hydra/launcher=joblib"), is_for_hydra("seed=1")
        (True, True, False)
    """
    return override.lstrip("+").startswith(("hydra.", "hydra/"))


def describes_run(override: str) -> bool:
    """Whether an override is needed to compose a run's configuration: all that are not for Hydra, and the search path.

    Example:
        >>> describes_run("hydra.searchpath=[file://mine]"), describes_run("hydra/launcher=joblib")
        (True, False)
    """
    return not is_for_hydra(override) or override.lstrip("+").startswith("hydra.searchpath=")


def quoted(value: str) -> str:
    """Quote a text so that Hydra reads it back unchanged.

    Example:
        >>> print(quoted("it's"))
        'it\\'s'
    """
    escaped = re.sub(r"\\*(?=')|\\+$", lambda backslashes: 2 * backslashes[0], value)
    return f"'{escaped.replace(chr(39), chr(92) + chr(39)).replace('${', chr(92) + '${')}'"


def unquoted(value: str) -> str:
    """Remove the quotes that Hydra needs around some names, for commands that need none.

    Example:
        >>> unquoted("'odd name=1'"), unquoted("it's"), unquoted("")
        ('odd name=1', "it's", '')
    """
    quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quotes else value


def written(value: object) -> str:
    """Write a value of any plain type so that Hydra reads it back unchanged.

    Example:
        >>> print(written([{"name": "l1", "l1": 1e-05, "where": None}, True, "head.*"]))
        [{name: l1, l1: 1e-05, where: null}, true, 'head.*']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_]\w*", value) and _PLAIN.fullmatch(value) else quoted(value)
    return str(value)


def typed(key: str, value: object) -> str:
    """An override with any value, quoted so that it can be pasted into a shell.

    Example:
        >>> print(typed("resume", "outputs/a"), typed("resume", "a=1, b"))
        resume=outputs/a "resume='a=1, b'"
    """
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    override = f"{key}={quoted(text)}"
    return shlex.quote(override) if set(override) & set('"$`\\!') else f'"{override}"'
