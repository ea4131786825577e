"""An override as it is typed: quoted for Hydra, and for the shell around it."""

from __future__ import annotations

import re
import shlex

#: what Hydra reads as text, and a shell as one word, without quotes
_PLAIN = re.compile(
    r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w.-]*|[\w.@%+-]*/[\w.@%+/-]*", re.ASCII | re.IGNORECASE
)


def is_for_hydra(override: str) -> bool:
    """Whether it is about how runs are started, not about what they are.

    Example:
        >>> is_for_hydra("+hydra.launcher.n_jobs=2"), is_for_hydra("hydra/launcher=joblib"), is_for_hydra("seed=1")
        (True, True, False)
    """
    return override.lstrip("+").startswith(("hydra.", "hydra/"))


def quoted(value: str) -> str:
    """A value as it must be written for Hydra to read it back.

    Example:
        >>> print(quoted("it's"))
        'it\\'s'
    """
    escaped = re.sub(r"\\*(?=')|\\+$", lambda backslashes: 2 * backslashes[0], value)
    return f"'{escaped.replace(chr(39), chr(92) + chr(39)).replace('${', chr(92) + '${')}'"


def typed(key: str, value: object) -> str:
    """An override that can be pasted into a shell, whatever is in its value.

    Example:
        >>> print(typed("resume", "outputs/a"), typed("resume", "a=1, b"))
        resume=outputs/a "resume='a=1, b'"
    """
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    override = f"{key}={quoted(text)}"
    return shlex.quote(override) if set(override) & set('"$`\\!') else f'"{override}"'
