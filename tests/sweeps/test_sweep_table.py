"""A sweep's output on a terminal: one table that fits, no progress bars of single runs, and no broken numbers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console

from regtorch.study.leaderboard import Point
from regtorch.sweeps.plan import Plan
from regtorch.sweeps.progress_table import Watch, show_leaderboard
from regtorch.sweeps.trial_table import point_table
from regtorch.training.callbacks import ProgressBar, make_callbacks

SIZES = [(80, 24), (120, 40), (60, 10)]
LONG = {
    "initializer@head_initializer": "glorot_uniform",
    "model.hidden": "[100,100,100]",
    "optimizer.lr": "0.001",
    "dropout": "variational",
}


class Terminal(io.StringIO):
    """A stream that is a terminal with a given number of columns and rows."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self.stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


def sweep(folder: Path, choices: dict[str, str], completed: int, failed: int, running: int) -> Plan:
    """A sweep with completed, failed and running points."""
    total = completed + failed + running + 3
    for number in range(completed + failed + running):
        point = folder / str(number)
        point.mkdir(parents=True)
        if number < completed:
            (point / "results.json").write_text(
                json.dumps({"status": "completed", "val": {"accuracy": 0.5 + number / 1000}})
            )
        elif number < completed + failed:
            (point / "results.json").write_text(json.dumps({"status": "failed", "reason": "the loss became nan"}))
        else:
            (point / "metrics.csv").write_text("accuracy,epoch\n0.5,1\n0.5,7\n")
    points = {number: {**choices, "seed": str(number)} for number in range(total)}
    return Plan(folder, (), (), points, "val.accuracy", 20)


def attached(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make a terminal standard error in the body of a test, because pytest sets its own before."""
    made = Terminal(*size)
    monkeypatch.setattr(sys, "stderr", made)
    for name, value in (("TERM", "xterm"), ("COLUMNS", str(size[0])), ("LINES", str(size[1]))):
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("choices", [{"regularizer": "l2"}, LONG], ids=["short", "long"])
def test_one_table_is_updated_in_place_and_removed_at_the_end(
    size: tuple[int, int], choices: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = attached(size, monkeypatch)
    with Watch(sweep(tmp_path, choices, completed=60, failed=3, running=2)) as watch:
        for _ in range(3):
            watch._live.refresh()
        shown = terminal.lines
        assert "63 of 68 done, 2 running, 3 failed" in " ".join(shown)
        assert sum("done" in line for line in shown) == 1
        assert any("0.5590" in line for line in shown)  # the best
        if terminal.screen.lines > 10:
            assert any(line.endswith("epoch 7 of 20") for line in shown)
            assert any(line.endswith("failed") for line in shown)
    assert terminal.lines == []
    assert len(terminal.screen.history.top) == 0


def test_a_dumb_terminal_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attached((80, 24), monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    plan = sweep(tmp_path, {"regularizer": "l2"}, completed=0, failed=0, running=1)
    with Watch(plan):
        (tmp_path / "0/results.json").write_text(json.dumps({"status": "completed", "val": {"accuracy": 0.5}}))
    assert terminal.lines == ["1 of 4: regularizer=l2 seed=0: val.accuracy 0.5000"]


def test_piped_output_has_a_line_for_each_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(sweep(tmp_path, {"regularizer": "l2"}, completed=0, failed=0, running=1)):
        (tmp_path / "0/results.json").write_text(json.dumps({"status": "failed", "reason": "no"}))
    assert capsys.readouterr().err == "1 of 4: regularizer=l2 seed=0: no\n"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_numbers_are_never_broken(width: int) -> None:
    values = {"val.accuracy": 0.123456, "test.accuracy": 0.987654, "test.nll": 0.555555}
    points = [Point(number, LONG, "completed", values=values) for number in range(3)]
    console = Console(width=width, file=io.StringIO())
    console.print(point_table(points, list(values), width, ["1", "2", "3"]))
    text = console.file.getvalue()
    for value in ("0.1235", "0.9877", "0.5556"):
        assert text.count(value) == 3
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_the_leaderboard_has_failures_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = [
        Point(0, {"seed": "1"}, "completed", values={"val.brier": 0.5}),
        Point(1, {"seed": "2"}, "failed", reason="the loss became nan"),
    ]
    show_leaderboard(points, "val.brier", tmp_path, 3)
    message = capsys.readouterr().out
    for words in (
        "0.5000",
        "point 1 failed: seed=2: the loss became nan",
        "1 of 3 points completed, 1 failed, 1 not finished",
    ):
        assert words in message


def test_a_run_of_a_sweep_has_no_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached((80, 24), monkeypatch)
    node: Any = {"patience": None, "monitor": "val_loss", "min_delta": 0.0, "ema_decay": None}

    def bars(**settings: Any) -> int:
        return sum(isinstance(c, ProgressBar) for c in make_callbacks(node, tmp_path, True, **settings))

    assert (bars(), bars(progress_bar=False)) == (1, 0)
