"""Grids: every point runs once, despite failures and interruptions."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import pytest

from regtorch.config.compose import compose
from regtorch.errors import DataError
from regtorch.runs import job
from regtorch.sweeps.plan import plan
from regtorch.system.quoting import quoted
from regtorch.training.interruption import Interrupted
from tests.testers.command import ended, running

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "scripts" / "train.py")]
SMALL = ["trainer.max_epochs=2", "data.batch_size=256", "mc=none", "logger.tensorboard=false", "trainer=cpu"]


def swept(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ended(folder, "-m", *arguments)


def leaderboard(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "leaderboard.csv").open(encoding="utf-8")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Four points, one of which fails while it trains."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder / "grid", swept(
        folder, "regularizer=none,l2", "optimizer.lr=0.01,1e30", "hydra.sweep.dir=grid", *SMALL
    )


def test_a_failing_point_is_recorded_and_the_others_run(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = finished
    assert done.returncode == 1
    rows = leaderboard(folder)
    assert [row["status"] for row in rows] == ["completed"] * 2 + ["failed"] * 2
    assert [row["rank"] for row in rows] == ["1", "2", "", ""]
    assert {row["optimizer.lr"] for row in rows[2:]} == {"1e+30"}
    assert all("the loss became" in row["reason"] for row in rows[2:])
    assert float(rows[0]["val.accuracy"]) >= float(rows[1]["val.accuracy"])
    kept = json.loads((folder / "sweep.json").read_text())
    assert (kept["status"], kept["points"], kept["completed"], kept["failed"]) == ("completed", 4, 2, 2)
    assert kept["best"]["point"] == int(rows[0]["point"])
    assert "2 of 4 points completed, 2 failed" in done.stdout
    assert "Traceback" not in done.stderr
    for row in rows:
        results = json.loads((folder / row["point"] / "results.json").read_text())
        assert results["status"] == row["status"]
        assert (folder / row["point"] / "train.log").read_text()


def test_resuming_a_complete_sweep_runs_nothing(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    before = (folder / "leaderboard.csv").read_text()
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}
    done = swept(folder.parent, "sweep.resume=grid")
    assert done.returncode == 1
    assert (folder / "leaderboard.csv").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")} == written


def test_a_missing_point_and_an_interrupted_one_get_the_same_results(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    before = (folder / "leaderboard.csv").read_text()
    for path in (folder / "0").rglob("*"):  # as if it had never started
        if path.is_file():
            path.unlink()
    (folder / "2" / "results.json").unlink()  # as if it had been killed before its results
    done = swept(folder.parent, "sweep.resume=grid")
    assert done.returncode == 1
    assert (folder / "leaderboard.csv").read_text() == before
    assert len((folder / "0" / "metrics.csv").read_text().splitlines()) == 3


def test_an_interrupted_sweep_is_resumed_to_the_same_leaderboard(tmp_path: Path) -> None:
    grid = ["regularizer=none,l1,l2", *SMALL, "dropout=standard", "trainer.max_epochs=6", "data.batch_size=64"]
    assert swept(tmp_path, *grid, "hydra.sweep.dir=complete").returncode == 0
    for signum, status, name in ((signal.SIGTERM, 143, "it's a, b=[1]"), (signal.SIGKILL, -9, "killed")):
        resume = [f"sweep.resume={name}"]
        with running(tmp_path, "-m", *grid, f"hydra.sweep.dir={quoted(name)}") as command:
            command.until((tmp_path / name / "1" / "checkpoints" / "last.ckpt").exists)
            command.kill(signum)
            assert command.status() == status, command.stderr
        if signum == signal.SIGTERM:
            (line,) = command.errors
            resume = shlex.split(line.removeprefix("error: interrupted; to resume: python scripts/train.py -m "))
            assert json.loads((tmp_path / name / "sweep.json").read_text())["status"] == "interrupted"
            assert len(leaderboard(tmp_path / name)) == 3
        assert swept(tmp_path, *resume).returncode == 0
        assert (tmp_path / name / "leaderboard.csv").read_text() == (
            tmp_path / "complete" / "leaderboard.csv"
        ).read_text()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_point_of_a_sweep_over_processes_runs_once(tmp_path: Path) -> None:
    small = [option for option in SMALL if option != "trainer=cpu"]
    done = swept(tmp_path, "seed=1,2", "dropout=none", "trainer=ddp_cpu", "hydra.sweep.dir=grid", *small)
    assert done.returncode == 0, done.stderr
    assert sorted(path.parent.name for path in tmp_path.glob("**/results.json")) == ["0", "1"]
    logs = [(tmp_path / "grid" / n / "train.log").read_text() for n in "01"]
    assert all(log.count("rows to train on") == 1 for log in logs)


def test_a_point_runs_again_alone(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    point = leaderboard(folder)[0]["point"]
    done = ended(folder.parent, f"rerun=grid/{point}", "hydra.run.dir=again")
    assert done.returncode == 0, done.stderr
    one, other = (
        json.loads((folder.parent / name / "results.json").read_text()) for name in (f"grid/{point}", "again")
    )
    assert one["test"] == other["test"]
    assert one["overrides"] == other["overrides"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep.resume=nowhere"], "sweep.resume=nowhere: there is no complete sweep.json in it"),
        (["sweep.resume=grid", "seed=1,2"], "sweep.resume=grid is a sweep over regularizer=none,l2"),
        (["sweep.by=speed", "seed=1,2"], "sweep.by=speed is not allowed: it must be one of val.accuracy"),
        (["sweep.bye=val.loss", "seed=1,2"], "sweep.bye=val.loss: there is no such key"),
        (
            ["hydra.sweep.dir=grid", "seed=4,5"],
            "hydra.sweep.dir=grid is not allowed: it has the sweep over regularizer=none,l2",
        ),
        (["hydra.sweep.dir=", "seed=4,5"], "hydra.sweep.dir= is not allowed"),
        (["seed=1,"], "seed=1, cannot be read: it must be KEY=VALUE"),
        (["optimizer.lr=choice(0.1,0.2"], "optimizer.lr=choice(0.1,0.2 cannot be read"),
        (["seed"], "seed cannot be read: it must be KEY=VALUE"),
        (["hydra/launcher=nothing", "seed=1,2"], "hydra/launcher=nothing: there is no such option"),
        (["hydra.sweep.dirr=a", "seed=1,2"], "hydra.sweep.dirr=a: there is no such key"),
        (["resume=grid/0", "seed=1,2"], "resume=grid/0 is not allowed with -m"),
        (["rerun=grid/0", "seed=1,2"], "rerun=grid/0 is not allowed with -m"),
        (["seed=1,2,1"], "seed=1,2,1 is not allowed in a grid: name 1 only once"),
        (["seed=1,2", "hydra.sweep.subdir=a"], "hydra.sweep.subdir=a is not allowed with -m"),
        (["seed=1,2", "hydra.mode=RUN"], "hydra.mode=RUN is not allowed with -m"),
        (["seed=1,2", "--cfg", "job"], "--cfg is not for -m"),
        (["seed=1,2", "--fast"], "--fast is not for -m"),
        (["seed=shuffle(1,2)"], "seed=shuffle(1,2) is not allowed in a grid"),
        (["regularizer=glob(l*)"], "regularizer=glob(l*) is not allowed in a grid"),
        (["seed=1,2", "seed=7"], "seed=1,2 is not allowed: seed is given 2 times"),
        (["seed=1,2", "hydra/launcher=basic,joblib"], "hydra/launcher=basic,joblib is not allowed"),
        (["sweep.resume=5"], "sweep.resume=5: there is no complete sweep.json"),
        (
            ["seed=1,2,3", "sweep.halving=3", "data.validation_fraction=0"],
            "data.validation_fraction=0 (given, or an experiment's) is not allowed here",
        ),
        (
            ["experiment=digits_standard,digits_custom", "sweep.halving=2"],
            "experiment=digits_standard,digits_custom is not allowed with sweep.halving, which sets the epochs of each point itself",
        ),
        (["seed=range(1,1)"], "seed=range(1,1) is not allowed in a grid: it is empty"),
        (["seed=1,2", "hydra.sweep.dir=/proc/grid"], "hydra.sweep.dir=/proc/grid cannot be created: "),
        (["seed=1,2", "mc=none", "sweep.by=test_mc.nll"], "sweep.by=test_mc.nll is not allowed with mc=none"),
        (["seed=1,2", "trainer.max_epochs=${oc.env:NO_SUCH}"], "trainer.max_epochs: KeyError raised while resolving"),
        (["seed=1,2", "sweep.halving=1"], "sweep.halving=1 is not allowed"),
        (["seed=1,2", "sweep.halving=3"], "sweep.halving=3 is not allowed: it prunes none of 2 points in 50 epochs"),
        (["seed=1,2", "sweep.retry_failed=true"], "sweep.retry_failed=true is allowed only for a resumed sweep"),
        (["sweep.resume=grid", "hydra.sweep.dir=other"], "hydra.sweep.dir=other is not allowed with sweep.resume"),
        (["sweep.resume=grid", "sweep.retry_failed=yes"], "sweep.retry_failed=yes is not allowed"),
        (["seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0 is not allowed"),
        (
            ["hydra.sweep.dir=nameless", "seed=4,5"],
            "hydra.sweep.dir=nameless is not allowed: it has runs but no sweep.json",
        ),
    ],
)
def test_mistakes_are_one_line(
    finished: tuple[Path, subprocess.CompletedProcess[str]], arguments: list[str], message: str
) -> None:
    (nameless := finished[0].parent / "nameless" / "0").mkdir(parents=True, exist_ok=True)
    (nameless / "results.json").write_text("{}")
    done = swept(finished[0].parent, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("argument", ["sweep.resume=grid", "sweep.by=val.nll", "hydra.mode=MULTIRUN"])
def test_keys_of_sweeps_need_multirun(argument: str, tmp_path: Path) -> None:
    done = ended(tmp_path, argument)
    assert (done.returncode, done.stderr) == (2, f"error: {argument} is allowed only for several runs: add -m\n")


@pytest.mark.parametrize("damaged", ["", "[]", '{"overrides": "seed=1,2"}', '{"overrides": [], "by": "speed"}'])
def test_a_damaged_record_is_one_line(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(damaged)
    with pytest.raises(DataError, match=r"there is no complete sweep\.json in it|its sweep\.json is damaged"):
        plan([f"sweep.resume={quoted(str(tmp_path))}"])


def test_failed_points_are_run_again_on_request(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "grid")
    best = int(leaderboard(finished[0])[0]["point"])
    failure = {"status": "failed", "reason": "the disk is full", "seed": 0, "overrides": []}
    (tmp_path / "grid" / str(best) / "results.json").write_text(json.dumps(failure))
    before = (tmp_path / "grid" / "leaderboard.csv").read_text()
    assert swept(tmp_path, "sweep.resume=grid").returncode == 1
    assert "the disk is full" in (tmp_path / "grid" / "leaderboard.csv").read_text()
    assert swept(tmp_path, "sweep.resume=grid", "sweep.retry_failed=true").returncode == 1
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == before
    assert json.loads((tmp_path / "grid" / str(best) / "results.failed.json").read_text()) == failure


def test_the_time_of_a_sweep_includes_its_earlier_parts(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], grid := tmp_path / "grid")
    record = json.loads((grid / "sweep.json").read_text())
    assert swept(tmp_path, "sweep.resume=grid").returncode == 1
    ended_in_order = json.loads((grid / "sweep.json").read_text())["seconds"]
    assert record["seconds"] < ended_in_order < record["seconds"] + 60
    # a killed sweep has stored only its start
    (grid / "sweep.json").write_text(json.dumps({**record, "status": "running", "seconds": 5.0}))
    newest = max(path.stat().st_mtime for path in grid.glob("*/results.json"))
    os.utime(grid / "sweep.json", (newest - 100, newest - 100))
    assert swept(tmp_path, "sweep.resume=grid").returncode == 1
    assert 105 <= json.loads((grid / "sweep.json").read_text())["seconds"] < 165


def test_a_point_with_a_damaged_checkpoint_starts_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], grid := tmp_path / "grid")
    complete = leaderboard(grid)
    (point := grid / complete[0]["point"]).joinpath("results.json").unlink()
    (point / "checkpoints" / "last.ckpt").write_bytes(b"half of it")
    assert swept(tmp_path, "sweep.resume=grid").returncode == 1
    assert any("last.ckpt cannot be read as a checkpoint" in row["reason"] for row in leaderboard(grid))
    assert swept(tmp_path, "sweep.resume=grid", "sweep.retry_failed=true").returncode == 1
    assert leaderboard(grid) == complete
    assert (point / "checkpoints" / "last.damaged.ckpt").read_bytes() == b"half of it"


def test_an_exit_in_a_run_fails_only_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's data set or penalty must not end the runs that follow."""
    for error, raised in ((SystemExit(3), job.RunError), (Interrupted(signal.SIGTERM), Interrupted)):
        monkeypatch.setattr(import_module("regtorch.training.run"), "run", Mock(side_effect=error))
        with pytest.raises(raised):
            job.train(compose(SMALL), tmp_path, [])


def test_values_are_shown_without_quotes() -> None:
    where = plan(["regularizer=l2", r"regularizer.where='kernel:hidden.*',bias,head\.*", "model.hidden=[8],[9]"])
    assert [where.choices(number)["regularizer.where"] for number in (0, 2)] == ["kernel:hidden.*", "bias"]
    assert where.choices(0)["model.hidden"] == "[8]"
    assert r"kernel" in where.overrides_of(0)[-2]


def test_a_signal_before_the_first_run_ends_the_sweep_cleanly(tmp_path: Path) -> None:
    with running(tmp_path, "-m", "seed=1,2", *SMALL, "hydra.sweep.dir=grid") as command:
        command.until((tmp_path / "grid" / "sweep.json").exists)
        command.kill(signal.SIGTERM)
        assert command.status() == 143
    assert command.errors == [
        "error: interrupted; to resume: python scripts/train.py -m sweep.resume=" + str(tmp_path / "grid")
    ]
    assert json.loads((tmp_path / "grid" / "sweep.json").read_text())["status"] == "interrupted"


def test_a_full_disk_is_reported_without_a_traceback(tmp_path: Path) -> None:
    """The disk has space for a failure, but not for a run's configuration."""
    with running(tmp_path, "-m", "seed=1,2", "hydra.sweep.dir=full", file_size=1000) as command:
        assert command.status() == 1, command.stderr
    assert "Error executing job" not in command.stderr
    assert command.errors == []
    rows = leaderboard(tmp_path / "full")
    assert [row["status"] for row in rows] == ["failed"] * 2
    assert all(".hydra: the run's configuration cannot be written" in row["reason"] for row in rows)


def test_two_processes_do_not_run_one_sweep(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "grid").mkdir()
    with (tmp_path / "grid" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = swept(tmp_path, "seed=1,2", "hydra.sweep.dir=grid", *SMALL)
    assert done.returncode == 2
    assert "is being run by another process" in done.stderr
    assert [path.name for path in (tmp_path / "grid").iterdir()] == [".lock"]
