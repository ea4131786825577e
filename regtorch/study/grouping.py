"""Grouping of runs that differ only in their seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from regtorch.errors import DataError
from regtorch.study.results import Run

#: overrides that do not distinguish recipes
_APART = ("seed", "resume", "logger")


def group_runs(runs: Iterable[Run]) -> tuple[dict[str, dict[int, Run]], list[str]]:
    """Group completed runs that differ only in their seed, in the given order.

    Args:
        runs: finished runs.

    Returns:
        label -> seed -> run, and notes on skipped runs: those that did not complete, and all but the last one of those
        with the same seed. A label consists of the overrides of the group's first run, without those of all groups.

    Raises:
        DataError: no run is completed.
    """
    groups: dict[str, dict[int, Run]] = {}
    notes = []
    for run in runs:
        if not run.completed:
            reason = f": {run.reason}" if run.reason else ""
            notes.append(f"left out: {run.folder} ({run.status}{reason})")
            continue
        group = groups.setdefault(json.dumps(run.recipe, sort_keys=True, default=str), {})
        if run.seed in group:
            notes.append(f"left out: {group[run.seed].folder} (the same recipe and seed as {run.folder})")
        group[run.seed] = run
    if not groups:
        raise DataError(f"there is no completed run among them; {notes[0]}" if notes else "there is no run to compare")
    firsts = [next(iter(group.values())) for group in groups.values()]
    return dict(zip(_labels(firsts), groups.values(), strict=True)), notes


def _labels(runs: Sequence[Run]) -> list[str]:
    """Distinct labels for the runs, made of as few overrides as possible."""
    typed = [[o for o in run.overrides if o.lstrip("+~").split("=")[0].split(".")[0] not in _APART] for run in runs]
    shared = set.intersection(*map(set, typed)) if len(runs) > 1 else set()
    labels = [" ".join(o.removeprefix("experiment=") for o in own if o not in shared) or "default" for own in typed]
    if len(set(labels)) == len(labels):
        return labels
    flat = [
        _flat(run.recipe) for run in runs
    ]  # equal overrides, but different recipes: the recipes were edited in between
    for label in set(labels):
        same = [index for index, other in enumerate(labels) if other == label]
        keys = sorted({key for index in same for key in flat[index]})
        differing = [key for key in keys if len({flat[index].get(key) for index in same}) > 1]
        for index in same:
            labels[index] = " ".join([label, *(f"{key}={flat[index].get(key, 'null')}" for key in differing)])
    return labels


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return flat
