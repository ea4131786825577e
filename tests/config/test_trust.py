"""A configuration cannot run foreign code: not from the command line, nor from an untrusted folder or its files."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.testers.cold import Answer, answered
from tests.testers.command import running

_UP = "../" * 12 + "proc/self/cwd/theirs"
#: without the guard, each of these creates the folder `boom`
UNTRUSTED = [
    "+hydra.callbacks.boom={_target_: os.mkdir, path: boom}",
    "+hydra.callbacks={boom: {_target_: os.mkdir, path: boom}}",
    f"experiment={_UP}/evil",
    f"+regularizer@_global_.hydra.callbacks={_UP}/callbacks",
    "experiment=${oc.env:EVIL}",
]
#: with the current Hydra, none of these runs code; but no run has such overrides
ODD = [
    "++hydra.job_logging.handlers.boom={class: subprocess.Popen, args: [mkdir, boom]}",
    *("hydra.launcher._target_=os.mkdir", "--config-dir=boom", "hydra/job_logging=boom", "model._target_=os.mkdir"),
]


def unguarded() -> None:
    """Remove the guards."""
    from regtorch.cli import train
    from regtorch.config import compose
    from regtorch.runs import earlier_overrides
    from regtorch.sweeps import plan

    os.environ["EVIL"] = f"{_UP}/evil"
    for module in (compose, earlier_overrides, plan, train):
        for guard in {"check_names_only", "check_folder_overrides"} & vars(module).keys():
            setattr(module, guard, lambda *given: None)


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.path,)


def run(folder: Path, *arguments: str) -> Answer:
    return answered("train.py", arguments, folder)


def check_refused(done: Answer, message: str, folder: Path) -> None:
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "boom").exists()


@pytest.mark.parametrize(
    "override",
    ["model._target_=os.mkdir", "regularizer={_target_: os.mkdir}", "+hydra.callbacks.x={_target_: os.mkdir}"],
)
@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_no_import_path_on_the_command_line(override: str, multirun: list[str], tmp_path: Path) -> None:
    check_refused(run(tmp_path, *multirun, override), f"{override} is not allowed: components are named by", tmp_path)
    assert not list(tmp_path.iterdir())


def theirs(folder: Path, override: str) -> None:
    """Write an untrusted folder of runs with this override."""
    small = ["trainer.max_epochs=1", "data.batch_size=999", "mc=none", "logger.tensorboard=false"]
    kept = folder / "theirs" / ".hydra" / "overrides.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps([*small, "seed=1", override]))
    boom = "boom: {_target_: os.mkdir, path: boom}"
    (folder / "theirs" / "callbacks.yaml").write_text(boom)
    (folder / "theirs" / "evil.yaml").write_text(f"# @package _global_\nhydra: {{callbacks: {{{boom}}}}}\n")
    (folder / "theirs" / "sweep.json").write_text(json.dumps({"overrides": [*small, "seed=1,2", override]}))


@pytest.mark.parametrize("override", [*UNTRUSTED, *ODD])
@pytest.mark.parametrize("way", ["resume", "rerun", "sweep.resume"])
def test_an_untrusted_folder_runs_no_code(override: str, way: str, tmp_path: Path) -> None:
    theirs(tmp_path, override)
    done = run(tmp_path, *(["-m"] if way == "sweep.resume" else []), f"{way}=theirs")
    check_refused(done, f"{way}=theirs: the override {override} stored there is not allowed", tmp_path)


@pytest.mark.parametrize("override", UNTRUSTED)
def test_without_the_guard_the_code_runs(override: str, tmp_path: Path) -> None:
    theirs(tmp_path, override)
    with running(tmp_path, "rerun=theirs", first=unguarded) as command:
        command.status()
    assert (tmp_path / "boom").is_dir(), command.stderr


def test_a_damaged_record_of_a_sweep_is_one_line(tmp_path: Path) -> None:
    theirs(tmp_path, "regularizer=l2(")
    done = run(tmp_path, "-m", "sweep.resume=theirs")
    check_refused(done, "sweep.json there has regularizer=l2(, which cannot be read: it must be KEY=VALUE", tmp_path)


def test_an_archive_of_pickled_rows_is_refused(tmp_path: Path) -> None:
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb(tmp_path / "boom")
    arrays = {"x_train": bomb, "y_train": [0], "x_test": [[0.0]], "y_test": [0]}
    np.savez(tmp_path / "theirs.npz", **arrays)
    check_refused(run(tmp_path, "data=arrays", "data.path=theirs.npz"), "data.path=theirs.npz", tmp_path)
    np.load(tmp_path / "theirs.npz", allow_pickle=True)["x_train"]
    assert (tmp_path / "boom").is_dir(), "without the guard the code runs"


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "boom": Bomb(tmp_path / "boom")}, tmp_path / "theirs.ckpt")
    done = run(tmp_path, "ckpt_path=theirs.ckpt", "trainer.max_epochs=1")
    assert done.returncode
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "theirs.ckpt cannot be read as a checkpoint" in done.stderr
    assert not (tmp_path / "boom").exists()
    torch.load(tmp_path / "theirs.ckpt", weights_only=False)
    assert (tmp_path / "boom").is_dir(), "without the guard the code runs"


def test_the_bomb_runs_code_when_it_is_unpickled(tmp_path: Path) -> None:
    pickle.load(io.BytesIO(pickle.dumps(Bomb(tmp_path / "boom"))))
    assert (tmp_path / "boom").is_dir()
