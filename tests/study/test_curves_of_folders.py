"""``regtorch-curves`` accepts folders of runs, sweeps and studies, and tables of other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from regtorch.cli import curves

TABLE = "epoch,data_loss,accuracy,val_accuracy\n1,1.5,0.5,0.5\n2,0.5,0.6,0.6\n"


def drawn(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["curves.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        curves.main()
    return int(caught.value.code or 0)


def run(folder: Path, table: str = TABLE) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(table)


@pytest.mark.parametrize(
    ("name", "table", "arguments"),
    [
        ("a", TABLE, ["a"]),
        ("sweep/0", TABLE, ["sweep"]),
        ("study/runs/x/1", TABLE, ["baseline=study"]),
        ("lr=0.1", TABLE, ["lr=0.1"]),
        ("lr=0.1", TABLE, ["label=lr=0.1"]),
        ("$x$_y", TABLE, ["$x$_y", "_=$x$_y", "$x$_y/"]),
        ("a", "epoch,accuracy\n1,0.5\n", ["a"]),
        ("a", "accuracy,note\n0.5,text\n,\n", ["a"]),
    ],
)
def test_a_picture_is_drawn(
    name: str, table: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / name, table)
    assert drawn(tmp_path, monkeypatch, *arguments, "--out", "c.svg") == 0
    assert (tmp_path / "c.svg").stat().st_size


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (TABLE, ["absent"], "run=absent: there is no such folder"),
        (TABLE, ["."], ""),
        ("", ["a"], "metrics.csv contains no finished epoch"),
        ("epoch,loss\n1,2\n", ["a"], "has no column data_loss or accuracy; it has: epoch, loss"),
        (TABLE, ["a", "--out=c.xyz"], "--out=c.xyz is not allowed: its name must end in one of"),
        (TABLE, ["a", "--out=absent/c.png"], "--out=absent/c.png cannot be written"),
        (TABLE, ["a", "--nosuch"], "unrecognized arguments: --nosuch"),
        (TABLE, ["x="], "x= is not allowed: it must be a folder, or LABEL=FOLDER"),
    ],
)
def test_errors_are_one_line(
    table: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(tmp_path / "a", table)
    assert drawn(tmp_path, monkeypatch, *arguments) == (2 if message else 0)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == bool(message)


def test_runs_of_the_same_name_are_all_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Path] = {}
    monkeypatch.setattr(curves, "draw_curves", lambda runs, out: given.update(runs))
    for folder in ("a/run", "b/run"):
        run(tmp_path / folder)
    assert drawn(tmp_path, monkeypatch, "a/run", "b/run") == 0
    assert {str(path) for path in given.values()} == {"a/run", "b/run"}
