"""The curves are drawn from metrics.csv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from regtorch.errors import DataError
from regtorch.study.curves import draw_curves, read_metrics

ROWS = "accuracy,data_loss,epoch,val_accuracy,val_data_loss\n0.5,1.5,1,0.4,1.6\n0.75,0.5,2,0.6,\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.csv").write_text(ROWS)
    return tmp_path / "run"


def test_metrics_are_read_by_column(run: Path) -> None:
    metrics = read_metrics(run)
    assert metrics["accuracy"] == [0.5, 0.75]
    assert metrics["val_data_loss"][0] == 1.6
    assert metrics["val_data_loss"][1] != metrics["val_data_loss"][1]  # a value that is missing


def test_a_picture_is_drawn(run: Path, tmp_path: Path) -> None:
    draw_curves({"mine": run}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["curves.png"]


def test_no_metrics_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no metrics\.csv"):
        read_metrics(tmp_path)
    (run / "metrics.csv").write_text(ROWS.splitlines()[0])
    with pytest.raises(DataError, match="no finished epoch"):
        read_metrics(run)
    command = [sys.executable, "-m", "regtorch.cli.curves", str(tmp_path), "--out", str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
