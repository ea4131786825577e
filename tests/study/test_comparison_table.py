"""The table as CSV, Markdown and on a terminal."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from regtorch.study.comparison import compare
from regtorch.study.comparison_table import as_csv, as_markdown, as_rich

ACCURACIES = {"plain": (0.90, 0.91, 0.92, 0.93, 0.94), "a|b": (0.95, 0.95, 0.97, 0.97, 0.98)}
COMPARISON = compare(
    {
        name: {seed: {"test.accuracy": value, "seconds": 10.0 * value} for seed, value in enumerate(values)}
        for name, values in ACCURACIES.items()
    }
)


def test_csv_holds_every_digit() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(COMPARISON))))
    assert [(row["metric"], row["recipe"], row["verdict"]) for row in rows[:2]] == [
        ("test.accuracy", "plain", "the first"),
        ("test.accuracy", "a|b", "better"),
    ]
    for row, made in zip(rows, COMPARISON.rows, strict=True):
        for name in (
            "mean",
            "std",
            "low",
            "high",
            "difference",
            "difference_low",
            "difference_high",
            "p_value",
            "p_holm",
        ):
            value = getattr(made, name)
            assert row[name] == ("" if value is None else repr(value))
    assert (rows[1]["n"], rows[1]["pairs"], rows[0]["pairs"]) == ("5", "5", "")


def test_markdown_is_a_table_with_the_rule_and_notes() -> None:
    text = as_markdown(COMPARISON, ["failed: plain, seed 7"])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert table[2].startswith("| test.accuracy | plain | 5 | 0.9200 | 0.0158 | [0.9")
    assert table[3].startswith("| test.accuracy | a\\|b | 5 | 0.9640 |")
    assert "| +0.0440 | [+0.0372, +0.0508] | 5 | <0.001 | better |" in table[3]
    for words in ("The first is plain.", "paired t-test", "Holm", "bootstrap", "10,000", "- failed: plain, seed 7"):
        assert words in text


@pytest.mark.parametrize("width", [180, 80])
def test_on_a_terminal_nothing_is_cut(width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    for table in as_rich(COMPARISON, width):
        console.print(table)
    text = console.file.getvalue()
    for words in (
        "test.accuracy",
        "a|b",
        "0.9640",
        "+0.0440",
        "[+0.0372, +0.0508]",
        "<0.001",
        "better",
        "seconds",
        "9.64",
    ):
        assert words in text
    assert "…" not in text
