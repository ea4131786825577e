"""The points of a grid: all combinations of the values of a command line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

from regtorch.config.command_line import unreadable
from regtorch.errors import SettingError


@cache
def as_text(key: str, value: str) -> str:
    """Return a value as Hydra parses it if that is a string, without quotes and escapes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        read = OverridesParser.create().parse_override(f"{key}={value}").value()
    except unreadable():
        return value
    return read if isinstance(read, str) else value


def is_swept(override: str) -> bool:
    """Whether an override has several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except unreadable():
        return False  # composing reports the error


def grid_points(swept: Sequence[str]) -> list[dict[str, str]]:
    """Return all combinations in Hydra's order: the last key changes fastest."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    choices: dict[str, list[str]] = {}
    for text, override in zip(swept, OverridesParser.create().parse_overrides(list(swept)), strict=True):
        if not override.is_discrete_sweep() or getattr(override.value(), "shuffle", False):
            raise SettingError(f"{text} is not allowed in a grid: list values, or search with hparams_search=custom")
        try:
            values = list(override.sweep_string_iterator())
        except HydraException as error:
            raise SettingError(f"{text} is not allowed in a grid: list its values") from error
        if not values:
            raise SettingError(f"{text} is not allowed in a grid: it is empty")
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise SettingError(f"{text} is not allowed in a grid: name {twice} only once")
        choices[override.get_key_element()] = values
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
