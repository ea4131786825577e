"""What a sweep is to run: its points, and the folder that they are kept in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, SettingError
from regtorch.registry import near
from regtorch.settings import Range, one_of
from regtorch.study.leaderboard import ORDERS

#: keys of a sweep, not of what it runs -> what they may be
_OWN = {
    "sweep.resume": Range("a sweep's folder", lambda v: bool(v)),
    "sweep.by": one_of(*ORDERS),
}


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        folder: with a folder for each point, named by its number.
        overrides: as typed.
        points: for each, key -> value of what is swept over.
        by: what its leaderboard is ordered by.
    """

    folder: Path
    overrides: tuple[str, ...]
    points: tuple[Mapping[str, str], ...]
    by: str


def plan(overrides: Sequence[str]) -> Plan:
    """The sweep that a command line asks for.

    Raises:
        RegtorchError: ``sweep.resume`` names no sweep, or one of another grid; another key of a sweep is wrong.
    """
    given = {
        key: value.strip("'\"") for key, _, value in (override.lstrip("+").partition("=") for override in overrides)
    }
    own = {key: value for key, value in given.items() if key.startswith("sweep.")}
    for key, value in own.items():
        if key not in _OWN:
            raise SettingError(f"{key}={value}: there is no such key{near(key, _OWN)}")
        _OWN[key].check(key, value)
    typed = [o for o in overrides if not o.lstrip("+").startswith(("sweep.", "hydra.sweep.dir="))]
    if "sweep.resume" in own:
        folder = Path(resumed := own["sweep.resume"])
        before = _earlier(folder)
        if typed and typed != before:
            raise SettingError(
                f"sweep.resume={resumed} is a sweep over {' '.join(before)}: say nothing else, or exactly that"
            )
        typed = before
    elif "hydra.sweep.dir" in given:
        folder = Path(given["hydra.sweep.dir"])
    else:
        folder = Path("multirun", datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f"))
    return Plan(folder.absolute(), tuple(typed), tuple(_points(typed)), own.get("sweep.by", "val.accuracy"))


def _earlier(folder: Path) -> list[str]:
    try:
        kept: Any = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        overrides = [str(override) for override in kept["overrides"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"sweep.resume={folder}: there is no whole sweep.json in it; is it a sweep's folder?"
        ) from error
    return overrides


def _points(overrides: Sequence[str]) -> list[dict[str, str]]:
    """Every combination, in the order in which Hydra numbers them: the last key changes fastest."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override() and override.is_discrete_sweep():
            choices[override.get_key_element()] = list(override.sweep_string_iterator())
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
