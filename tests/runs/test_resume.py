"""``resume=``: settings that may change, runs without a checkpoint, and folders with unusual names."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.testers.command import ended

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "scripts" / "train.py")]
SMALL = ["data.batch_size=128", "mc=none", "logger.tensorboard=false", "trainer=cpu"]


def train(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not environment:
        return ended(folder, *arguments)
    env = {**os.environ, **environment}
    return subprocess.run([*TRAIN, *arguments], cwd=folder, capture_output=True, text=True, env=env)


def saved(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, in a folder whose name needs an escape in Hydra."""
    folder = tmp_path_factory.mktemp("resume")
    done = train(folder, "scheduler=cosine", "trainer.max_epochs=2", r"hydra.run.dir='it\'s'", *SMALL)
    assert done.returncode == 0, done.stderr
    return folder / "it's"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "it's"))


def set_seconds(run: Path, seconds: float) -> None:
    """Change the duration that is stored in the last checkpoint."""
    checkpoint = saved(run)
    assert 0 < checkpoint["regtorch"]["seconds"] < results(run)["seconds"]
    checkpoint["regtorch"]["seconds"] = seconds
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")


def test_a_longer_training_follows_a_longer_cosine_and_counts_the_seconds_of_all_parts(run: Path) -> None:
    set_seconds(run, 5000.0)
    done = train(run.parent, r"resume='it\'s'", "trainer.max_epochs=4")
    assert done.returncode == 0, done.stderr
    rates = [float(row["lr"]) for row in csv.DictReader((run / "metrics.csv").open())]
    assert rates == pytest.approx([5e-4, 0.0, 1e-3 * (1 - 2**-0.5) / 2, 0.0], abs=1e-9)
    assert list(run.parent.iterdir()) == [run]
    assert 5000 < results(run)["seconds"] < 6000
    assert 5000 < saved(run)["regtorch"]["seconds"] < results(run)["seconds"]


def test_a_run_from_a_checkpoint_starts_from_it_again(run: Path) -> None:
    set_seconds(run, 5000.0)
    done = train(
        run.parent, r"ckpt_path='it\'s/checkpoints/last.ckpt'", "trainer.max_epochs=3", "hydra.run.dir=b", *SMALL
    )
    assert done.returncode == 0, done.stderr
    complete = saved(run.parent / "b")
    assert results(run.parent / "b")["seconds"] < 5000  # a new run counts only its own time
    shutil.rmtree(run.parent / "b" / "checkpoints")  # as if the run was stopped before its first checkpoint
    (run.parent / "b" / "metrics.csv").unlink()
    done = train(run.parent, "resume=b")
    assert done.returncode == 0, done.stderr
    again = saved(run.parent / "b")
    assert again["global_step"] == complete["global_step"] == 3 * 11
    assert all(torch.equal(w, again["state_dict"][name]) for name, w in complete["state_dict"].items())
    assert len((run.parent / "b" / "metrics.csv").read_text().splitlines()) == 4  # the header and all epochs


def test_choosing_another_option_drops_the_earlier_settings_of_its_group(tmp_path: Path) -> None:
    first = ["regularizer=l1_l2", "regularizer.l1=1e-3", "trainer.max_epochs=1", "hydra.run.dir=a", *SMALL]
    assert train(tmp_path, *first).returncode == 0
    done = train(tmp_path, "resume=a", "regularizer=none", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.max_epochs=1"], "resume=it's has trained 2 epochs already: trainer.max_epochs=1 must be more"),
        (["ckpt_path=x.ckpt"], "resume=it's and ckpt_path=x.ckpt are both given"),
        (["model.hidden=[3]"], "resume=it's is of another run: it has model.hidden="),
    ],
)
def test_settings_that_do_not_fit_are_one_line_and_change_nothing(
    run: Path, arguments: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = train(run.parent, r"resume='it\'s'", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("given", ["data.batch_size=64", "seed=5", "data.reshuffle=false"])
def test_the_order_of_rows_cannot_change_within_an_epoch(tmp_path: Path, given: str) -> None:
    stopped = ["trainer.max_epochs=2", "trainer.max_steps=5", "hydra.run.dir=a", *SMALL]
    assert train(tmp_path, *stopped).returncode == 0
    checkpoint = saved(tmp_path / "a")
    checkpoint["regtorch"]["batches"] = 5  # as after a signal
    torch.save(checkpoint, tmp_path / "a" / "checkpoints" / "last.ckpt")
    done = train(tmp_path, "resume=a", given, "trainer.max_steps=-1", "trainer.max_epochs=9")
    assert done.returncode == 2
    key, _, value = given.partition("=")
    assert f"was stopped in the middle of an epoch with {key}=" in done.stderr
    assert f"{key}={value.capitalize() if value == 'false' else value} is not allowed before its end" in done.stderr


def test_two_processes_do_not_train_in_one_folder(run: Path) -> None:
    with (run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = train(run.parent, r"resume='it\'s'", "trainer.max_epochs=3")
    assert done.returncode == 2
    assert "resume=it's is not allowed: another process trains there" in done.stderr
    assert (run / "results.json").is_file()


def test_a_single_slurm_task_starts_the_other_processes_itself(tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1"}
    job |= {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": "1"}
    small = [option for option in SMALL if option != "trainer=cpu"]
    done = train(tmp_path, "trainer=ddp_cpu", "trainer.max_epochs=1", "hydra.run.dir=a", *small, **job)
    assert done.returncode == 0, done.stderr
    assert len(saved(tmp_path / "a")["regtorch"]["ranks"]) == 2
    assert saved(tmp_path / "a")["global_step"] == 6  # 1,293 rows in batches of 256
