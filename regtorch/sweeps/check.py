"""Check each value of a sweep once, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.runs.validate import checked, validate_run
from regtorch.study.leaderboard import inside
from regtorch.sweeps.plan import Plan
from regtorch.system.quoting import describes_run


def check(plan: Plan) -> None:
    """Check each value of a sweep once, before anything runs.

    Raises:
        RegtorchError: the first error.
    """
    choices: dict[str, list[str]] = {}
    if plan.search is not None:
        choices = {d.key: list(d.ends) for d in plan.search.space}
    for point in plan.points.values():
        for key, value in point.items():
            if value not in (known := choices.setdefault(key, [])):
                known.append(value)
    fixed = [o for o in plan.fixed if describes_run(o)]
    first = {key: values[0] for key, values in choices.items()}

    def composed(chosen: Mapping[str, str]) -> dict[str, Any]:
        return checked([*fixed, *(plan.held_here(f"{key}={value}") for key, value in chosen.items())])

    config = composed(first)
    for key, values in choices.items():
        for value in values[1:]:
            if isinstance(
                inside(config, key), (bool, int, float)
            ):  # not an option of a group, so no composition is needed
                validate_run(_with(config, key, value))
            else:
                composed({**first, key: value})


def _with(config: Mapping[str, Any], key: str, value: str) -> dict[str, Any]:
    """Return the configuration with another value at one place."""
    first, _, rest = key.partition(".")
    if rest:
        return {**config, first: _with(config[first], rest, value)}
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return {**config, first: OverridesParser.create().parse_override(f"{first}={value}").value()}
