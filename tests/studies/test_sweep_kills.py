"""A grid of 36 points that is killed twenty times at random moments has the same leaderboard as an uninterrupted one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.sweeps.test_sweep import TRAIN, leaderboard, swept

pytestmark = pytest.mark.slow

GRID = ["regularizer=none,l1,l2,l1_l2", "dropout=none,standard,alpha", "seed=1,2,3", "trainer.max_epochs=20"]
KILLS = 20


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = swept(folder, *GRID, "hydra.sweep.dir=grid")
    assert done.returncode == 0, done.stderr
    kept = json.loads((folder / "grid" / "sweep.json").read_text())
    print(f"seconds of the grid over those of its points: {kept['seconds'] / kept['seconds_of_points']:.3f}")
    return folder / "grid"


def test_36_points_and_20_kills(uninterrupted: Path, tmp_path: Path) -> None:
    assert len(leaderboard(uninterrupted)) == 36
    chance = random.Random(0)
    arguments = [*GRID, "hydra.sweep.dir=grid"]
    ended: dict[Path, int] = {}
    kills = 0
    while kills < KILLS:
        process = subprocess.Popen([*TRAIN, "-m", *arguments], cwd=tmp_path, stdout=-3, stderr=-3)
        time.sleep(chance.uniform(0.2, 9))
        assert process.poll() is None, "it ended before all kills"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        if (tmp_path / "grid" / "sweep.json").is_file():
            arguments = ["sweep.resume=grid"]
        for path, written in ended.items():
            assert path.stat().st_mtime_ns == written, f"{path.parent.name} was run twice"
        ended = {path: path.stat().st_mtime_ns for path in tmp_path.glob("grid/*/results.json") if is_valid(path)}
    done = swept(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == (uninterrupted / "leaderboard.csv").read_text()
    print(f"{kills} kills, {len(leaderboard(tmp_path / 'grid'))} points, the same leaderboard")


def is_valid(path: Path) -> bool:
    return json.loads(path.read_text())["status"] == "completed"


def test_one_failed_point_is_reported_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "grid" / "7").mkdir(parents=True)
    (tmp_path / "grid" / "7" / "checkpoints").write_text("a file where a folder must be")
    done = swept(tmp_path, *GRID[:-1], "trainer.max_epochs=2", "hydra.sweep.dir=grid")
    assert done.returncode == 1
    rows = leaderboard(tmp_path / "grid")
    assert [row["status"] for row in rows] == ["completed"] * 35 + ["failed"]
    assert rows[-1]["point"] == "7"
    assert "checkpoints" in rows[-1]["reason"]
    assert "35 of 36 points completed, 1 failed" in done.stdout
