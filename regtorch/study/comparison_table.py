"""A comparison as a table: on the terminal, in Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from regtorch.study.bootstrap import LEVEL
from regtorch.study.comparison import RULE, Comparison, Row

if TYPE_CHECKING:
    from rich.table import Table

#: columns of comparison.csv; cells are empty where the number of seeds does not allow a value
CSV_COLUMNS = (
    *("metric", "recipe", "n", "mean", "std", "low", "high"),
    *("pairs", "difference", "difference_low", "difference_high", "p_value", "p_holm", "verdict"),
)
_INTERVAL = f"{LEVEL:.0%} interval"
_OVER_SEEDS = ("n", "mean", "std", _INTERVAL)
_AGAINST_FIRST = ("difference", _INTERVAL, "pairs", "p", "verdict")
#: a terminal of fewer columns gets two narrow tables instead of a wide one
_WIDE = 130


def as_csv(comparison: Comparison) -> str:
    """One line a metric and recipe, with all digits.

    Example:
        >>> from regtorch.study.comparison import compare
        >>> print(as_csv(compare({"a": {1: {"sparsity": 0.5}}})))
        metric,recipe,n,mean,std,low,high,pairs,difference,difference_low,difference_high,p_value,p_holm,verdict
        sparsity,a,1,0.5,,,,,,,,,,the first
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in comparison.rows:
        writer.writerow([row.metric.name, *(getattr(row, column) for column in CSV_COLUMNS[1:])])
    return text.getvalue()


def as_markdown(comparison: Comparison, notes: Sequence[str] = ()) -> str:
    """The table, how to read it, and notes on runs that are not in it.

    Example:
        >>> from regtorch.study.comparison import compare
        >>> as_markdown(compare({"a": {1: {"sparsity": 0.5}}})).splitlines()[2]
        '| sparsity | a | 1 | 0.5000 |  |  |  |  |  |  | the first |'
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    headings = ("metric", "recipe", *_OVER_SEEDS, *_AGAINST_FIRST)
    text = line(headings) + "|---|---" + "|---:" * (len(headings) - 3) + "|---|\n"
    for row in comparison.rows:
        text += line([row.metric.name, row.recipe, *_over_seeds(row), *_against_first(row)])
    text += f"\nThe first is {comparison.recipes[0]}.\n\n"
    return text + "".join(f"- {said}\n" for said in (*RULE, *notes))


def as_rich(comparison: Comparison, width: int) -> list[Table]:
    """The table for a terminal: one wide table, or two where the terminal is narrow."""
    if width >= _WIDE:
        return [
            _table(comparison, (*_OVER_SEEDS, *_AGAINST_FIRST), lambda row: [*_over_seeds(row), *_against_first(row)])
        ]
    tables = [_table(comparison, _OVER_SEEDS, _over_seeds)]
    if len(comparison.recipes) > 1:
        tables.append(_table(comparison, _AGAINST_FIRST, _against_first))
    return tables


def _table(comparison: Comparison, headings: Sequence[str], cells: Callable[[Row], list[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in headings:
        words = heading == "verdict"
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words)
    shown = None
    for row in comparison.rows:
        if row.metric is not shown:
            table.add_row(Text(row.metric.name, style="bold"))
            shown = row.metric
        table.add_row(Text(f"  {row.recipe}"), *map(Text, cells(row)))
    return table


def _over_seeds(row: Row) -> list[str]:
    return [str(row.n), _number(row, row.mean), _number(row, row.std), _interval(row, row.low, row.high)]


def _against_first(row: Row) -> list[str]:
    return [
        _number(row, row.difference, "+"),
        _interval(row, row.difference_low, row.difference_high, "+"),
        "" if row.pairs is None else str(row.pairs),
        "" if row.p_holm is None else "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        row.verdict,
    ]


def _number(row: Row, value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.{row.metric.decimals}f}"


def _interval(row: Row, low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None else f"[{_number(row, low, sign)}, {_number(row, high, sign)}]"
