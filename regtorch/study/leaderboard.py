"""The leaderboard of a sweep: its points sorted from best to worst, read from their folders; needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regtorch.printable import cell, printable
from regtorch.study.results_file import results_of

#: metric by which a leaderboard can be sorted -> whether larger is better
ORDERS = {
    f"{part}.{name}": name == "accuracy"
    for part in ("val", "test", "test_mc")
    for name in ("accuracy", "loss", "nll", "brier", "ece")
} | {"sparsity": True}

_VALUES = (
    *("val.accuracy", "val.loss", "val.nll", "test.accuracy", "test.loss", "test.nll", "test.brier", "test.ece"),
    *("test_mc.accuracy", "test_mc.nll", "sparsity", "epochs"),
)
#: the columns of leaderboard.csv, and further metrics by which points may be sorted
_READ = tuple(dict.fromkeys((*_VALUES, *ORDERS)))


@dataclass(frozen=True)
class Point:
    """The result of one point of a sweep.

    Args:
        number: number of its folder.
        choices: swept key -> value.
        status: completed, failed, interrupted, or missing if it never started or was killed.
        reason: why it is not completed.
        values: metric -> value.
        seconds: duration.
    """

    number: int
    choices: Mapping[str, str]
    status: str
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def read_point(folder: Path, number: int, choices: Mapping[str, str]) -> Point:
    """Read the folder of a point."""
    found = results(folder / str(number))
    if not found:
        return Point(number, choices, "missing", "was not finished")
    values = {name: value for name in _READ if isinstance(value := inside(found, name), (int, float))}
    reason = printable(found.get("reason", ""))
    return Point(number, choices, found["status"], reason, values, float(found.get("seconds", 0.0)))


def results(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``results.json``; empty if there is no valid one."""
    return results_of(folder)


def inside(found: Mapping[str, Any], name: str) -> Any:
    """A metric by its name, such as ``val.accuracy``; None if it is missing."""
    node: Any = found
    for key in name.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def ranked(points: Sequence[Point], by: str) -> list[Point]:
    """Completed points from best to worst, then the others; ties are sorted by number.

    Example:
        >>> points = [Point(n, {}, "completed", values={"val.accuracy": v}) for n, v in enumerate((0.5, 0.9, 0.9))]
        >>> [point.number for point in ranked([*points, Point(3, {}, "failed")], by="val.accuracy")]
        [1, 2, 0, 3]
    """
    sign = -1.0 if ORDERS[by] else 1.0

    def key(point: Point) -> tuple[int, float, int]:
        value = point.values.get(by)
        if point.status != "completed":
            return 2, 0.0, point.number
        return (1, 0.0, point.number) if value is None else (0, sign * value, point.number)

    return sorted(points, key=key)


def as_csv(points: Sequence[Point], by: str) -> str:
    """``leaderboard.csv``: one row per point; it does not depend on interruptions of the sweep.

    Example:
        >>> point = Point(0, {"seed": "1"}, "completed", values={"val.accuracy": 0.5})
        >>> print(as_csv([point], by="val.accuracy").splitlines()[1])
        1,0,completed,1,0.5,,,,,,,,,,,,
    """
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "point", "status", *map(cell, keys), *_VALUES, "reason"])
    for rank, point in enumerate(ranked(points, by), start=1):
        chosen = [cell(point.choices.get(key, "")) for key in keys]
        values = [point.values.get(name, "") for name in _VALUES]
        placed = rank if point.status == "completed" and by in point.values else ""
        writer.writerow([placed, point.number, cell(point.status), *chosen, *values, cell(point.reason)])
    return text.getvalue()
