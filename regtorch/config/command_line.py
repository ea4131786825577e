"""Overrides of a command line: checked before they are composed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError
from regtorch.system.quoting import typed

#: keys whose values are names of files and folders
_PATHS = ("resume", "rerun", "ckpt_path", "data.path", "hydra.run.dir", "hydra.sweep.dir", "sweep.resume")


def unreadable() -> tuple[type[Exception], ...]:
    """Return the exceptions of Hydra's parser, including those for too many digits and for very deep nesting."""
    from hydra.errors import HydraException

    return HydraException, ValueError, RecursionError


def check_paths(overrides: Sequence[str], *, grid: bool = False) -> None:
    """Refuse a file or folder name that Hydra would parse as something else, and show the quoted form.

    Args:
        overrides: overrides of a command line.
        grid: whether ``data.path`` may have several values, separated by commas.

    Raises:
        SettingError: a name with commas, quotes, brackets, `=` and so on that is not quoted for Hydra.

    Example:
        >>> check_paths(["resume='a=1'"])
        >>> check_paths(["resume=a=1"])
        Traceback (most recent call last):
        regtorch.errors.SettingError: resume=a=1 cannot be read: write "resume='a=1'", in both quotes
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    for index, override in enumerate(overrides):
        key, _, text = override.lstrip("+").partition("=")
        if key not in _PATHS:
            continue
        if rest := list(takewhile(lambda word: "=" not in word and not word.startswith("~"), overrides[index + 1 :])):
            joined = " ".join([text, *rest])
            raise SettingError(f"{' '.join(rest)} has no =: if it belongs to {key}, write {typed(key, joined)}")
        if not text:
            continue
        try:
            parsed = parser.parse_override(override)
            several = grid and key == "data.path" and parsed.is_sweep_override() and not Path(text).exists()
            value: Any = None if several else parsed.value()
        except unreadable():
            value = ()
        if value is not None and not isinstance(value, str) and str(value) != text:
            raise SettingError(f"{override} cannot be read: write {typed(key, text)}, in both quotes")


def implied_overrides(overrides: Sequence[str]) -> list[str]:
    """Choose standard dropout where only a probability is given, so that ``dropout.drop_prob=0.2`` alone works.

    Example:
        >>> implied_overrides(["dropout.keep_prob=0.8"])
        ['dropout=standard']
    """
    keys = {override.lstrip("+~").partition("=")[0] for override in overrides}
    implied = []
    for place, group in (("dropout", "dropout"), ("input_dropout", "dropout@input_dropout")):
        given = {f"{place}.drop_prob", f"{place}.keep_prob"} & keys
        if given and not {group, "experiment"} & keys:
            implied.append(f"{group}=standard")
    return implied


def value_of(override: str) -> str:
    """Return the value of an override as Hydra parses it, without quotes and escapes.

    Example:
        >>> value_of(r"resume='it\\'s'")
        "it's"
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return str(OverridesParser.create().parse_override(override).value())
    except unreadable():  # composing reports the error
        return override.partition("=")[2]


def check_readable(overrides: Sequence[str]) -> None:
    """Refuse arguments that are not overrides.

    Raises:
        SettingError: Hydra cannot parse an override.

    Example:
        >>> check_readable(["seed=1,"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.SettingError: seed=1, cannot be read: ...
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except unreadable() as error:
            raise SettingError(
                f"{override} cannot be read: it must be KEY=VALUE ({parser_message(str(error))})"
            ) from error


def parser_message(text: str) -> str:
    """One line of a message of Hydra, without its hints for programmers."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    dropped = ("full_key", "object_type", "reference_type", "See https://hydra.cc")
    return "; ".join(line for line in lines if not line.startswith(dropped))
