"""Points of a sweep as a table that fits a terminal: labels are folded, numbers never are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regtorch.printable import shortened
from regtorch.study.leaderboard import Point

if TYPE_CHECKING:
    from rich.table import Table

_NUMBER = 7  # columns of a measured value
_NARROWEST_LABEL = 6


def words(point: Point) -> str:
    """A point by what it was swept over.

    Example:
        >>> words(Point(3, {"regularizer": "l2", "seed": "1"}, "completed"))
        'regularizer=l2 seed=1'
    """
    return " ".join(f"{key}={short(value)}" for key, value in point.choices.items()) or f"point {point.number}"


def short(value: str) -> str:
    """A value with no more digits than are of use to a reader.

    Example:
        >>> short("1.9628224813442797e-05"), short("[300,100]"), short("0.25")
        ('1.963e-05', '[300,100]', '0.25')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else shortened(value)
    except ValueError:
        return shortened(value)


def rows_that_fit(points: Sequence[Point], names: Sequence[str], width: int, height: int, note: int = 0) -> int:
    """How many of the points' rows fit so many lines; about, as words are folded where they can be."""
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    apart, room = _layout(points, keys, names, width, note)
    used = 0
    for count, point in enumerate(points):
        used += 1 if apart else 1 + len(words(point)) // max(1, room - 8)
        if used > height:
            return count
    return len(points)


def _layout(
    points: Sequence[Point], keys: Sequence[str], names: Sequence[str], width: int, note: int
) -> tuple[bool, int]:
    """Whether each key has a column of its own, and the columns that are left for labels."""
    fixed = 4 + 6 + sum(2 + max(len(name), _NUMBER) for name in names) + (2 + note if note else 0)
    needed = sum(2 + max(len(key), *(len(short(p.choices.get(key, ""))) for p in points)) for key in keys)
    return fixed + needed <= width, width - fixed - 2


def point_table(
    points: Sequence[Point],
    names: Sequence[str],
    width: int,
    ranks: Sequence[str],
    notes: Sequence[str] = (),
) -> Table:
    """A row for each point: its rank, number, what it was swept over, and its values.

    What it was swept over has a column for each key where the terminal is wide enough, else one column for all.

    Args:
        points: in order.
        names: of the values to show.
        width: columns of the terminal.
        ranks: what stands first in each row.
        notes: what stands last in each row, such as how far it is; empty for none.
    """
    from rich.table import Table
    from rich.text import Text

    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    table = Table(box=None, pad_edge=False)
    for column in ("", "point"):
        table.add_column(column, justify="right", no_wrap=True)
    apart, _ = _layout(points, keys, names, width, max(map(len, notes)) if notes else 0)
    headers = keys if apart else ["swept over"]
    for header in headers:
        table.add_column(header, overflow="fold", min_width=_NARROWEST_LABEL)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    if notes:
        table.add_column("", no_wrap=True)
    for index, point in enumerate(points):
        labels = [short(point.choices.get(key, "")) for key in keys] if apart else [words(point)]
        values = [f"{point.values[name]:.4f}" if name in point.values else "" for name in names]
        cells = (ranks[index], str(point.number), *labels, *values, *([notes[index]] if notes else []))
        table.add_row(*map(Text, cells))
    return table
