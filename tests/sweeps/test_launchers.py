"""Grids in other processes: the same leaderboard, and one run per point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from regtorch.errors import SettingError
from regtorch.sweeps.launcher import Engine, Job, check_launcher
from tests.sweeps.test_search import SEARCH, SPACE
from tests.sweeps.test_sweep import SMALL, TRAIN, leaderboard, swept, wait_for

GRID = ["regularizer=none,l2", "seed=1", *SMALL]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled"}


def in_new_processes(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a grid in a new process: joblib's pool can wait forever in a fork of another process."""
    return subprocess.run([*TRAIN, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("basic")
    assert swept(folder, *GRID, "hydra.sweep.dir=grid").returncode == 0
    return (folder / "grid" / "leaderboard.csv").read_text()


@pytest.mark.parametrize("launcher", [JOBLIB, ["hydra/launcher=submitit_local"]], ids=["joblib", "submitit_local"])
def test_the_leaderboard_is_the_same_as_with_one_process(launcher: list[str], in_process: str, tmp_path: Path) -> None:
    done = in_new_processes(tmp_path, *GRID, "hydra.sweep.dir=grid", *launcher)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == in_process
    assert len(list(tmp_path.glob("grid/*/results.json"))) == 2


def test_a_killed_worker_loses_no_run(tmp_path: Path) -> None:
    """joblib's pool crashes; it is restarted, and runs the remaining points."""
    grid = ["seed=1,2", *SMALL, "trainer.max_epochs=40"]
    command = [*TRAIN, "-m", *grid, "hydra.sweep.dir=grid", *JOBLIB]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "grid" / "0" / "checkpoints" / "last.ckpt", process)
    workers = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "LokyProcess"], capture_output=True, text=True)
    os.kill(int(workers.stdout.split()[0]), signal.SIGKILL)
    assert process.communicate(timeout=240)
    assert process.returncode == 0
    assert [row["status"] for row in leaderboard(tmp_path / "grid")] == ["completed"] * 2
    assert swept(tmp_path, *grid, "hydra.sweep.dir=alone").returncode == 0
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == (tmp_path / "alone" / "leaderboard.csv").read_text()


@pytest.mark.parametrize(
    "sweep",
    [
        [*GRID, "trainer.max_epochs=3", "sweep.halving=2"],
        pytest.param([*SEARCH, *SPACE, "hparams_search.parallel=2", "hparams_search.trials=5"], marks=pytest.mark.slow),
    ],
    ids=["halving", "search"],
)
def test_halving_and_searches_are_the_same_as_with_one_process(sweep: list[str], tmp_path: Path) -> None:
    assert swept(tmp_path, *sweep, "hydra.sweep.dir=one").returncode == 0
    done = in_new_processes(tmp_path, *sweep, "hydra.sweep.dir=two", *JOBLIB)
    assert done.returncode == 0, done.stderr
    one, two = (leaderboard(tmp_path / folder) for folder in ("one", "two"))
    assert one == two
    assert {row["status"] for row in one} == {"completed", "pruned"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra/sweeper=optuna", "hydra/sweeper=optuna is not allowed"),
        (
            "hydra/launcher=ray",
            r"hydra/launcher=ray needs a package that is not installed: pip install 'regtorch\[ray\]'",
        ),
    ],
)
def test_the_missing_package_is_named(override: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regtorch.sweeps.launcher.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=message):
        check_launcher([override])


def test_a_job_returns_no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The configuration is in the run's folder, and pickling it takes longer than composing it."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    returned: list[Any] = []

    def launch(self: Any, *arguments: Any, **keywords: Any) -> Any:
        returned.extend(original(self, *arguments, **keywords))
        return returned

    original = BasicLauncher.launch
    monkeypatch.setattr(BasicLauncher, "launch", launch)
    Engine(tmp_path, []).run([Job(0, ("seed=1",))], lambda config: config.seed, lambda number: False)
    (one,) = returned
    assert (one.return_value, one.cfg, one.hydra_cfg) == (1, None, None)


def test_slurm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regtorch.sweeps.launcher.which", lambda name: None)
    with pytest.raises(
        SettingError, match="there is no srun here; to run on this machine: hydra/launcher=submitit_local"
    ):
        check_launcher(["hydra/launcher=submitit_slurm"])


# --- with several processes, and on a cluster: these take minutes ---


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "ray"])
def test_a_grid_over_two_processes_has_exactly_four_runs(launcher: str, tmp_path: Path) -> None:
    if launcher == "ray":
        pytest.importorskip("ray", reason="Ray is an extra of its own: pip install 'regtorch[ray]'")
    small = ["seed=1,2", *(option for option in GRID if option not in ("trainer=cpu", "seed=1"))]
    command = [*TRAIN, "-m", *small, "trainer=ddp_cpu", "hydra.sweep.dir=grid", f"hydra/launcher={launcher}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("**/results.json"))) == 4
    assert [row["status"] for row in leaderboard(tmp_path / "grid")] == ["completed"] * 4
    logs = [(tmp_path / "grid" / str(n) / "train.log").read_text() for n in range(4)]
    assert all(log.count("rows to train on") == 1 for log in logs)


@pytest.fixture
def cluster() -> object:
    """Two Ray nodes on this machine, with one core each."""
    pytest.importorskip("ray", reason="Ray is an extra of its own: pip install 'regtorch[ray]'")
    ray = str(Path(sys.executable).with_name("ray"))
    options = ["--num-cpus=1", "--disable-usage-stats"]
    for place in (["--head", "--port=6399", "--include-dashboard=false"], ["--address=127.0.0.1:6399"]):
        subprocess.run([ray, "start", *place, *options], check=True, capture_output=True, env=ENVIRONMENT)
    yield "127.0.0.1:6399"
    subprocess.run([ray, "stop", "--force"], capture_output=True, env=ENVIRONMENT)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a worker", "a node"])
def test_ray_loses_a_worker_and_the_sweep_is_complete(killed: str, cluster: str, tmp_path: Path) -> None:
    grid = ["regularizer=none,l2", "seed=1,2", *SMALL, "trainer.max_epochs=60", "hydra.sweep.dir=grid"]
    on_ray = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster}"]
    process = subprocess.Popen(
        [*TRAIN, "-m", *grid, *on_ray], cwd=tmp_path, stdout=-3, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    )
    wait_for(tmp_path / "grid" / "1" / "checkpoints" / "last.ckpt", process)
    pattern = "ray::_run_job" if killed == "a worker" else "raylet/raylet"
    (newest,) = subprocess.run(["pgrep", "-n", "-f", pattern], capture_output=True, text=True).stdout.split()
    os.kill(int(newest), signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(timeout=600) == 0
    assert time.monotonic() - began > 1  # the run was really repeated
    rows = leaderboard(tmp_path / "grid")
    assert [row["status"] for row in rows] == ["completed"] * 4
    alone = swept(tmp_path, *grid[:-1], "hydra.sweep.dir=alone")
    assert alone.returncode == 0
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == (tmp_path / "alone" / "leaderboard.csv").read_text()
    assert json.loads((tmp_path / "grid" / "sweep.json").read_text())["status"] == "completed"
