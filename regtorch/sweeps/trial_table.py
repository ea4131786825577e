"""A table of a sweep's points that fits a terminal: labels may be wrapped, numbers never are."""

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
    """Describe a point by its choices.

    Example:
        >>> words(Point(3, {"regularizer": "l2", "seed": "1"}, "completed"))
        'regularizer=l2 seed=1'
    """
    return " ".join(f"{key}={short(value)}" for key, value in point.choices.items()) or f"point {point.number}"


def short(value: str) -> str:
    """Shorten a value to the digits that a reader needs.

    Example:
        >>> short("1.9628224813442797e-05"), short("[300,100]"), short("0.25")
        ('1.963e-05', '[300,100]', '0.25')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else shortened(value)
    except ValueError:
        return shortened(value)


def rows_that_fit(points: Sequence[Point], names: Sequence[str], width: int, height: int, note: int = 0) -> int:
    """Estimate how many of the points' rows fit into `height` lines, given that labels are wrapped."""
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
    """Decide whether each key has its own column; return that, and the width left for labels."""
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
    """Return a table with one row per point: its rank, number, choices and values.

    Each choice has its own column if the terminal is wide enough; otherwise all choices share one column.

    Args:
        points: in order.
        names: names of the values to show.
        width: columns of the terminal.
        ranks: the first cell of each row.
        notes: the last cell of each row, such as its progress; empty for none.
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
