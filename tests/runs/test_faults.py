"""Full disks, removed files and killed processes: each is reported in one line, and the last checkpoint is complete."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.testers.command import Command, is_running, running, started_by, wait

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

SETTINGS = [
    "hydra.run.dir=run", "model.hidden=[8]", "mc=none", "trainer=cpu", "trainer.max_epochs=100000", "logger.tensorboard=false",
]  # fmt: skip


def last(folder: Path) -> Path:
    return folder / "run/checkpoints/last.ckpt"


def assert_failed(command: Command, status: int, *words: str, checkpoint: bool = True) -> str:
    """Check that a run failed with one line that has these words, and that its last checkpoint is complete."""
    assert command.status() == status, command.stderr
    (line,) = command.errors
    for word in words:
        assert word in line
    assert "the traceback" not in line
    if (path := command.folder / "run/results.json").exists():
        results = json.loads(path.read_text())
        assert results["status"] == "failed"
        assert " ".join(results["reason"].split()) == line.removeprefix("error: ")
    if checkpoint:
        assert torch.load(last(command.folder), weights_only=True)["state_dict"]
        assert not list((command.folder / "run").glob("**/.unfinished-*"))
    return line


def assert_resumable(folder: Path, *arguments: str) -> None:
    """Check that the run can be resumed, with one more epoch."""
    epochs = torch.load(last(folder), weights_only=True)["regtorch"]["epochs"] + 1
    with running(folder, "resume=run", f"trainer.max_epochs={epochs}", *arguments) as command:
        assert command.status() == 0, command.stderr
    assert json.loads((folder / "run/results.json").read_text())["epochs"] == epochs


def _full_disk_later() -> None:
    """Simulate a full disk from the time when a file ``full`` exists."""
    from regtorch.training.classifier import Classifier

    step = Classifier.on_train_epoch_start

    def limited(self: Classifier) -> None:
        import resource

        if Path("full").exists():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        step(self)

    Classifier.on_train_epoch_start = limited  # type: ignore[method-assign]


def test_a_full_disk(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, first=_full_disk_later) as command:
        command.until(last(tmp_path).exists)
        (tmp_path / "full").touch()
        assert_failed(
            command, 1, f"{tmp_path}/run/", ": File too large", "the last checkpoint is complete", "to resume: resume="
        )
    assert_resumable(tmp_path)


def test_a_disk_that_was_full_from_the_start(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, file_size=1000) as command:
        assert_failed(
            command, 1, "run/.hydra: the run's configuration cannot be written (File too large)", checkpoint=False
        )
        assert command.stderr.count("\n") == 1
    assert not (tmp_path / "run/.hydra/overrides.yaml").exists()


def _permissions_hold() -> None:
    """Let permissions apply to root too (drop CAP_DAC_OVERRIDE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    sets[0] &= ~(1 << 1)
    assert libc.capset(header, sets) == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, first=_permissions_hold) as command:
        command.until(last(tmp_path).exists)
        (tmp_path / "run/checkpoints").chmod(0o500)
        try:
            assert_failed(
                command, 1, f"{tmp_path}/run/checkpoints/.unfinished-", "Permission denied", "to resume: resume="
            )
        finally:
            (tmp_path / "run/checkpoints").chmod(0o700)
    assert_resumable(tmp_path)


def test_a_folder_is_removed(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS) as command:
        command.until(last(tmp_path).exists)
        (tmp_path / "run").rename(tmp_path / "away")
        assert_failed(command, 1, "run", "No such file or directory", checkpoint=False)
    (tmp_path / "away").rename(tmp_path / "run")
    assert_resumable(tmp_path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder of 24 small images for training."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 2), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


OF_IMAGES = ["data=image_folder", "data.image_size=[8,8]", "data.batch_size=8"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_is_removed(workers: int, images: Path, tmp_path: Path) -> None:
    gone = images / "train/cat/3.png"
    settings = [*SETTINGS, *OF_IMAGES, f"data.path={images}", f"data.workers={workers}"]
    with running(tmp_path, *settings) as command:
        command.until(last(tmp_path).exists)
        gone.rename(images / "3.png")
        line = assert_failed(command, 1, str(gone), "cannot be read as an image", "repair or remove it")
        assert "Original Traceback" not in line
    (images / "3.png").rename(gone)
    assert_resumable(tmp_path)


def test_rows_are_removed_between_check_and_load(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    np.savez(tmp_path / "rows.npz", x_train=rng.random((40, 6)), y_train=y, x_test=rng.random((40, 6)), y_test=y)
    with running(tmp_path, *SETTINGS, "data=arrays", "data.path=rows.npz", first=_rows_vanish) as command:
        assert_failed(command, 1, "data.path=rows.npz", "there is no such file", checkpoint=False)


def _rows_vanish() -> None:
    """Remove the file after the configuration is checked, before the run checks it."""
    from regtorch.cli import train
    from regtorch.runs import data, validate

    def check_and_remove(overrides: Any) -> Any:
        config = validate.checked(overrides)
        Path("rows.npz").unlink()
        data._datasets.clear()
        return config

    train.checked = check_and_remove


def test_a_dataloader_worker_is_killed(tmp_path: Path) -> None:
    # a separate process, because torch's cleanup at exit must not print anything either
    script = str(Path(__file__).parents[2] / "scripts/train.py")
    command = [sys.executable, script, *SETTINGS, "data.workers=1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait(lambda: process.poll() is not None or (last(tmp_path).exists() and started_by(process.pid)))
        for worker in started_by(process.pid):
            os.kill(worker, signal.SIGKILL)
        _, message = process.communicate()
    assert process.returncode == 1, message
    assert "Traceback" not in message
    (line,) = [line for line in message.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: data.workers=1: a DataLoader worker was killed; the last checkpoint is complete")
    assert message.splitlines()[-1] == line
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert (results["status"], f"error: {results['reason']}") == ("failed", line)
    assert_resumable(tmp_path)


def test_the_second_of_two_processes_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, "trainer=ddp_cpu") as command:
        command.until(last(tmp_path).exists)
        (other,) = started_by(command.pid)
        os.kill(other, signal.SIGKILL)
        assert_failed(command, 1, "process 1 of 2 was killed (SIGKILL)")
        assert not is_running(other)
    assert_resumable(tmp_path, "trainer=cpu")  # a checkpoint of an epoch's end does not depend on the processes


def test_a_non_finite_loss_of_two_processes(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, "trainer=ddp_cpu", "optimizer=sgd", "optimizer.lr=1e30") as command:
        line = assert_failed(command, 1, "the last finite values were", checkpoint=False)
        assert "process 1" not in line
