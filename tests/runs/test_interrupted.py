"""Commands that are interrupted at any moment leave complete files, and resume with the same results."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.testers.command import Command, is_running, running, started_by, wait

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

#: 41 steps per epoch, 21 on two processes
SETTINGS = [
    "hydra.run.dir=run", "dropout=standard", "regularizer=l1_l2", "constraint=max_norm", "scheduler=warmup_cosine",
    "trainer.max_epochs=6", "checkpoint.every_n_steps=10", "mc.samples=3",
]  # fmt: skip
ON = {1: "trainer=cpu", 2: "trainer=ddp_cpu"}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / f"run/checkpoints/{name}.ckpt", weights_only=True)


def position(folder: Path) -> tuple[int, int]:
    """Return the completed epochs and batches of the last checkpoint."""
    path = folder / "run/checkpoints/last.ckpt"
    message = checkpoint(folder)["regtorch"] if path.exists() else {"epochs": 0, "batches": 0}
    return message["epochs"], message["batches"]


def results(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "run/results.json").read_text())
    return read


def assert_the_same(folder: Path, complete: Path) -> None:
    """Check that a run's files equal those of the uninterrupted run."""
    for name in ("last", "best"):
        one, two = (checkpoint(where, name)["state_dict"] for where in (folder, complete))
        assert all(torch.equal(w, two[key]) for key, w in one.items())
    same = ("epochs", "train", "train_eval", "val", "test", "test_mc", "sparsity")
    assert [results(folder)[key] for key in same] == [results(complete)[key] for key in same]
    assert (folder / "run/metrics.csv").read_text() == (complete / "run/metrics.csv").read_text()
    assert not list((folder / "run").glob("**/.unfinished-*"))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of uninterrupted runs, by the number of processes."""
    folders = {}
    for ranks, on in ON.items():
        folders[ranks] = tmp_path_factory.mktemp(f"complete_{ranks}")
        with running(folders[ranks], *SETTINGS, on) as command:
            assert command.status() == 0, command.stderr
    return folders


def moved_on(folder: Path) -> Any:
    """Return a function that tells whether there is a newer last checkpoint than now."""
    path = folder / "run/checkpoints/last.ckpt"
    before = path.stat().st_mtime_ns if path.exists() else 0
    return lambda: path.exists() and path.stat().st_mtime_ns != before


def assert_interrupted(command: Command, signum: signal.Signals) -> None:
    assert command.status() == STATUS[signum], command.stderr
    assert command.errors == [f"error: interrupted; to resume: python scripts/train.py resume={command.folder}/run"]
    assert results(command.folder)["status"] == "interrupted"
    assert signum.name in results(command.folder)["reason"]
    assert not list((command.folder / "run").glob("**/.unfinished-*"))


def test_a_run_is_stopped_in_every_way_and_resumed(complete: dict[int, Path], tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, ON[1]) as command:  # killed before its first checkpoint: it starts again
        command.until((tmp_path / "run/.hydra/overrides.yaml").exists)
        command.kill()
        command.status()
    assert not (tmp_path / "run/checkpoints").exists()

    for signum in (signal.SIGTERM, signal.SIGINT):
        before = position(tmp_path)
        with running(tmp_path, "resume=run") as command:
            command.until(moved_on(tmp_path))
            command.kill(signum)
            assert_interrupted(command, signum)
        assert position(tmp_path) > before

    def unfinished() -> list[Path]:
        return list((tmp_path / "run/checkpoints").glob(".unfinished-*"))

    with running(tmp_path, "resume=run", first=_slow_disk) as command:  # killed while it writes a checkpoint
        command.until(moved_on(tmp_path))
        command.until(unfinished)
        command.kill()
        assert command.status() == -signal.SIGKILL
    assert unfinished()

    with running(tmp_path, "resume=run") as command:
        assert command.status() == 0, command.stderr
    assert_the_same(tmp_path, complete[1])


def _slow_disk() -> None:
    import time

    fsync = os.fsync
    os.fsync = lambda descriptor: (time.sleep(0.1), fsync(descriptor))[1]  # type: ignore[assignment]


def test_a_signal_in_the_middle_of_an_epoch_writes_a_checkpoint(tmp_path: Path) -> None:
    arguments = [*SETTINGS, "checkpoint.every_n_steps=null", "trainer.max_epochs=100000", ON[1]]
    for _ in range(20):  # a signal may arrive at the end of an epoch
        with running(tmp_path, *arguments) as command:
            command.until(moved_on(tmp_path))
            command.kill(signal.SIGTERM)
            assert_interrupted(command, signal.SIGTERM)
        if position(tmp_path)[1]:
            break
        arguments = ["resume=run"]
    epochs, batches = position(tmp_path)
    assert batches
    assert checkpoint(tmp_path)["global_step"] == 41 * epochs + batches
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 1 + epochs


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, "trainer.max_epochs=100000", ON[1], first=_step_that_never_ends) as command:
        command.until((tmp_path / "step").exists)
        command.kill(signal.SIGINT)
        wait(lambda: (tmp_path / "noted").exists())
        assert is_running(command.pid)
        command.kill(signal.SIGINT)
        assert command.status() == 130
        assert len(command.errors) == 1
    assert results(tmp_path)["status"] == "interrupted"


def _step_that_never_ends() -> None:
    from regtorch.training.classifier import Classifier

    step = Classifier.training_step

    def endless(self: Classifier, batch: Any, batch_idx: int) -> Any:
        (callback,) = [c for c in self.trainer.callbacks if type(c).__name__ == "LastCheckpoint"]
        while self.batches_seen == 3:
            Path("step").touch()
            if callback.interruption.signum is not None:
                Path("noted").touch()
        return step(self, batch, batch_idx)

    Classifier.training_step = endless  # type: ignore[method-assign]


QUICK = ["hydra.run.dir=run", "data.batch_size=256", "model.hidden=[4]", "trainer.max_epochs=1", "mc=none", "logger.csv=false",
    "logger.tensorboard=false",
]  # fmt: skip


def _waits_at(place: str) -> None:
    """Let the first process write a file ``there`` at this place, and wait for a signal."""
    from regtorch.runs import job
    from regtorch.training import fit, trainer

    run: Any = import_module("regtorch.training.run")

    def wait_there(*given: Any, **settings: Any) -> Any:
        if os.environ.get("RANK", "0") == "0":
            Path("there").touch()
            time.sleep(600)

    if place == "before it begins":
        job.train = wait_there
    elif place == "while it is set up":
        fit.make_trainer = wait_there
    elif place == "while the fit begins":
        trainer.make_callbacks = _with_one_that_waits(trainer.make_callbacks, wait_there)
    elif place == "while results are measured":
        run.measure = wait_there


def _with_one_that_waits(make_callbacks: Any, wait_there: Any) -> Any:
    import lightning.pytorch as lightning

    class Waits(lightning.Callback):
        setup = wait_there

    return lambda *given, **settings: [*make_callbacks(*given, **settings), Waits()]


PLACES = ["before it begins", "while it is set up", "while the fit begins", "while results are measured"]


@pytest.mark.parametrize(("place", "signum"), list(zip(PLACES, [*STATUS] * 2, strict=True)))
def test_a_signal_at_any_other_time(place: str, signum: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "it's a, b=[1]"
    folder.mkdir()
    with running(folder, *QUICK, ON[1], first=partial(_waits_at, place)) as command:
        command.until((folder / "there").exists)
        command.kill(signum)
        assert command.status() == STATUS[signum], command.stderr
        (line,) = command.errors
    found = json.loads((folder / "run/results.json").read_text())
    assert found["status"] == "interrupted"
    assert signum.name in found["reason"]
    hint = line.removeprefix("error: interrupted; to resume: ")
    program, script, resume = shlex.split(hint)
    assert (program, script) == ("python", "scripts/train.py")
    if place in PLACES[2:]:
        with running(folder, resume) as command:
            assert command.status() == 0, command.stderr
        assert json.loads((folder / "run/results.json").read_text())["epochs"] == 1


def test_a_signal_while_the_results_are_written_finds_the_run_complete(tmp_path: Path) -> None:
    with running(tmp_path, *QUICK, ON[1], first=_signal_to_itself_when_written) as command:
        assert command.status() == 0, command.stderr
    assert json.loads((tmp_path / "run/results.json").read_text())["status"] == "completed"


def _signal_to_itself_when_written() -> None:
    from regtorch.training import outcome

    write = outcome.write_json

    def write_and_signal(path: Path, content: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write(path, content)

    outcome.write_json = write_and_signal


def test_a_complete_run_is_reported(complete: dict[int, Path]) -> None:
    last = complete[1] / "run/checkpoints/last.ckpt"
    before = last.stat().st_mtime_ns
    with running(complete[1], "resume=run") as command:
        assert command.status() == 0
        assert "resume=run is complete, with 6 epochs; to train longer: trainer.max_epochs=12" in command.stdout
    with running(complete[1], *SETTINGS, "ckpt_path=run/checkpoints/last.ckpt", "hydra.run.dir=again") as command:
        assert command.status() == 2
        (line,) = command.errors
        assert "has trained 6 epochs already" in line
    assert last.stat().st_mtime_ns == before


def test_two_processes_end_and_resume_together(complete: dict[int, Path], tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, "checkpoint.every_n_steps=null", ON[2], first=os.setpgrp) as command:
        command.until((tmp_path / "run/checkpoints/last.ckpt").exists)
        (other,) = started_by(command.pid)
        os.killpg(command.pid, signal.SIGINT)  # Ctrl-C reaches all processes of the terminal
        assert_interrupted(command, signal.SIGINT)
        wait(lambda: not is_running(other))
    assert checkpoint(tmp_path)["global_step"] == 21 * position(tmp_path)[0] + position(tmp_path)[1]

    with running(tmp_path, "resume=run") as command:
        assert command.status() == 0, command.stderr
    assert_the_same(tmp_path, complete[2])


@pytest.mark.slow
def test_two_processes_end_and_resume_together_after_each_signal(complete: dict[int, Path], tmp_path: Path) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with running(tmp_path, *(["resume=run"] if (tmp_path / "run").exists() else [*SETTINGS, ON[2]])) as command:
            command.until(moved_on(tmp_path))
            (other,) = started_by(command.pid)
            command.kill(signum)
            if signum in STATUS:
                assert_interrupted(command, signum)
            else:
                assert command.status() == -signum
            wait(lambda other=other: not is_running(other))

    with running(tmp_path, "resume=run") as command:
        assert command.status() == 0, command.stderr
    assert_the_same(tmp_path, complete[2])


def test_the_second_process_ends_with_the_first_even_before_rendezvous(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, ON[2]) as command:
        command.until(lambda: started_by(command.pid))
        (other,) = started_by(command.pid)
        command.kill()
        command.status()
    wait(lambda: not is_running(other))
