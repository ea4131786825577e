"""A comparison as a table for the terminal, in Markdown or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from regtorch.printable import cell, printable
from regtorch.study.comparison import RULE, Comparison, Row
from regtorch.study.statistics import LEVEL

if TYPE_CHECKING:
    from rich.table import Table

#: columns of comparison.csv; cells are empty if there are too few seeds for a value
CSV_COLUMNS = (
    *("metric", "recipe", "n", "mean", "std", "low", "high"),
    *("pairs", "difference", "difference_low", "difference_high", "p_value", "p_holm", "verdict"),
)
_INTERVAL = f"{LEVEL:.0%} interval"
_OVER_SEEDS = ("n", "mean", "std", _INTERVAL)
_AGAINST_FIRST = ("difference", _INTERVAL, "pairs", "p", "verdict")
#: a narrower terminal gets two narrow tables instead of a wide one
_WIDE = 130
#: width of a folded label, and of the longest word of a verdict
_LABEL, _LONGEST_WORD = 16, 15
_INDENT = "  "


def as_csv(comparison: Comparison) -> str:
    """One line per metric and recipe, with all digits.

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
        values = (getattr(row, column) for column in CSV_COLUMNS[1:])
        writer.writerow([row.metric.name, *(cell(value) if isinstance(value, str) else value for value in values)])
    return text.getvalue()


def as_markdown(comparison: Comparison, notes: Sequence[str] = ()) -> str:
    """The table, an explanation, and notes on runs that are not in it.

    Example:
        >>> from regtorch.study.comparison import compare
        >>> as_markdown(compare({"a": {1: {"sparsity": 0.5}}})).splitlines()[2]
        '| sparsity | a | 1 | 0.5000 |  |  |  |  |  |  | the first |'
    """

    def table_row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(printable(text).replace("|", "\\|") for text in cells) + " |\n"

    headings = ("metric", "recipe", *_OVER_SEEDS, *_AGAINST_FIRST)
    text = table_row(headings) + "|---|---" + "|---:" * (len(headings) - 3) + "|---|\n"
    for row in comparison.rows:
        text += table_row([row.metric.name, row.recipe, *_over_seeds(row), *_against_first(row)])
    text += f"\nThe first is {printable(comparison.recipes[0])}.\n\n"
    return text + "".join(f"- {printable(line)}\n" for line in (*RULE, *notes))


def as_rich(comparison: Comparison, width: int) -> list[Table]:
    """The table for a terminal: one wide table, or two if the terminal is narrow; labels may be folded, results never are.

    Labels that leave no room for the results are replaced by numbers, with a legend.
    """
    both = (*_OVER_SEEDS, *_AGAINST_FIRST)
    parts: list[tuple[Sequence[str], Callable[[Row], list[str]]]] = [(_OVER_SEEDS, _over_seeds)]
    if width >= _WIDE:
        parts = [(both, lambda row: [*_over_seeds(row), *_against_first(row)])]
    elif len(comparison.recipes) > 1:
        parts.append((_AGAINST_FIRST, _against_first))
    layouts = [_layout(comparison, headings, cells, width) for headings, cells in parts]
    if all(label for label, _ in layouts):
        names = {recipe: recipe for recipe in comparison.recipes}
    else:
        names = {recipe: f"[{number}]" for number, recipe in enumerate(comparison.recipes, start=1)}
        metrics = max(len(row.metric.name) for row in comparison.rows)
        layouts = [(metrics, verdict) for _, verdict in layouts]
    tables = [
        _table(comparison, headings, cells, names, layout)
        for (headings, cells), layout in zip(parts, layouts, strict=True)
    ]
    return tables if all(names[recipe] == recipe for recipe in names) else [_legend(names), *tables]


def _layout(
    comparison: Comparison, headings: Sequence[str], cells: Callable[[Row], list[str]], width: int
) -> tuple[int, int]:
    """Width left for the labels, 0 if it is too small, and for the verdict."""
    rows = [cells(row) for row in comparison.rows]
    needs = [max(len(heading), *(len(row[at]) for row in rows)) for at, heading in enumerate(headings)]
    verdict = needs.pop() if headings[-1] == "verdict" else 0
    left = width - sum(needs) - 2 * len(headings)
    longest_metric = max(len(row.metric.name) for row in comparison.rows)
    longest = max(longest_metric, *(len(recipe) + len(_INDENT) for recipe in comparison.recipes))
    narrow = min(verdict, _LONGEST_WORD)
    if left - verdict >= min(longest, _LABEL):
        return min(longest, left - verdict), verdict
    if left - narrow >= min(longest, _LABEL):
        return min(longest, _LABEL), left - min(longest, _LABEL)
    return 0, max(narrow, min(verdict, left - longest_metric))


def _table(
    comparison: Comparison,
    headings: Sequence[str],
    cells: Callable[[Row], list[str]],
    names: Mapping[str, str],
    layout: tuple[int, int],
) -> Table:
    from rich.table import Table
    from rich.text import Text

    label, verdict = layout
    rows = [cells(row) for row in comparison.rows]
    needs = [max(len(heading), *(len(row[at]) for row in rows)) for at, heading in enumerate(headings)]
    if headings[-1] == "verdict":
        needs[-1] = max(verdict, len("verdict"))
    table = Table(box=None, pad_edge=False, width=label + sum(needs) + 2 * len(needs))
    table.add_column("", overflow="fold", width=label)
    for heading, needed in zip(headings, needs, strict=True):
        words = heading == "verdict"
        table.add_column(heading, justify="left" if words else "right", overflow="fold", width=needed)
    shown = None
    for row in comparison.rows:
        if row.metric is not shown:
            table.add_row(Text(row.metric.name, style="bold"))
            shown = row.metric
        table.add_row(Text(f"{_INDENT}{names[row.recipe]}"), *map(Text, cells(row)))
    return table


def _legend(names: Mapping[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    legend = Table(box=None, pad_edge=False, show_header=False)
    legend.add_column(no_wrap=True)
    legend.add_column(overflow="fold")
    for recipe, number in names.items():
        legend.add_row(number, Text(recipe))
    return legend


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
