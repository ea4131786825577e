"""400 kills at random moments, on one and two processes, with and without data-loading workers.

Every run is resumed by the same command and ends bit-identical, and no complete results are lost.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.testers.command import Command, running, started_by

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]

KILLS = int(os.environ.get("REGTORCH_KILLS", "100"))  # for each configuration
KILLS_PER_RUN = 20  # after so many kills it may finish
SETTINGS = [
    "hydra.run.dir=run", "dropout=standard", "regularizer=l1_l2", "constraint=max_norm", "scheduler=warmup_cosine",
    "trainer.max_epochs=30", "data.batch_size=16", "checkpoint.every_n_steps=7", "mc.samples=5",
]  # fmt: skip


def left(folder: Path) -> dict[str, Any]:
    """The results of a run: the bits of its checkpoints' weights, its metrics, and its table."""
    weights = {
        f"{name}/{key}": w.numpy().tobytes()
        for name in ("last", "best")
        for key, w in torch.load(folder / f"run/checkpoints/{name}.ckpt", weights_only=True)["state_dict"].items()
    }
    measured = json.loads((folder / "run/results.json").read_text())
    same = ("status", "epochs", "train", "train_eval", "val", "test", "test_mc")
    return {**weights, **{key: measured[key] for key in same}, "table": (folder / "run/metrics.csv").read_text()}


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "run/checkpoints").glob(".unfinished-*"))


def kill_somewhere(command: Command, chance: random.Random) -> bool:
    """Kill a process of a run at a random moment; return whether the run was still running."""
    began = (command.folder / "run/checkpoints/last.ckpt").exists()
    moment = chance.choice(["at any time", "in training", "while a checkpoint is written"])
    if moment != "at any time" or not began:
        before = time.time_ns()

        def trains() -> bool:
            with suppress(FileNotFoundError):
                return (command.folder / "run/checkpoints/last.ckpt").stat().st_mtime_ns > before
            return False

        if not wait_while_alive(command, trains):
            return False
    if moment == "while a checkpoint is written":
        if not wait_while_alive(command, lambda: bool(unfinished(command.folder))):
            return False
    else:
        time.sleep(chance.uniform(0, 2))
    others = [other for own in started_by(command.pid) for other in (own, *started_by(own))]
    of_others = bool(others) and chance.random() < 0.5
    with suppress(ProcessLookupError):
        os.kill(chance.choice(others) if of_others else command.pid, signal.SIGKILL)
    status = command.status()
    assert status in ((0, 1) if of_others else (0, -signal.SIGKILL)), command.stderr
    return status != 0


def wait_while_alive(command: Command, reached: Any) -> bool:
    while command.process.is_alive():
        if reached():
            return True
        time.sleep(0.0005)
    return False


def complete_results(folder: Path) -> int:
    """Number of epochs of the complete results in a run's folder; 0 if there are none."""
    epochs = [0]
    for name in ("results.json", "results.previous.json"):
        with suppress(FileNotFoundError):
            found = json.loads((folder / "run" / name).read_text())
            epochs.append(found["epochs"] if found["status"] == "completed" else 0)
    return max(epochs)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 0), (1, 2), (2, 1)])
def test_random_kills(ranks: int, workers: int, tmp_path: Path) -> None:
    on = {1: "trainer=cpu", 2: "trainer=ddp_cpu"}[ranks]
    settings = [*SETTINGS, on, f"data.workers={workers}"]
    (tmp_path / "uninterrupted").mkdir()
    with running(tmp_path / "uninterrupted", *settings) as command:
        assert command.status() == 0, command.stderr
    expected = left(tmp_path / "uninterrupted")

    chance, counts = random.Random(10 * workers + ranks), Counter[str]()
    differing: list[str] = []
    while counts["kills"] < KILLS:
        folder = tmp_path / f"run_{counts['runs']}"
        folder.mkdir()
        counts["runs"] += 1
        arguments, peace = settings, min(KILLS, counts["kills"] + KILLS_PER_RUN)
        while True:
            with running(folder, *arguments) as command:
                if counts["kills"] == peace:
                    command.status()
                if not command.process.is_alive() or not kill_somewhere(command, chance):
                    break
            counts["kills"] += 1
            counts["while a checkpoint was written"] += bool(unfinished(folder))
            if (folder / "run/.hydra/overrides.yaml").exists():
                arguments = ["resume=run"]
                counts["resumes"] += 1
        assert command.process.exitcode == 0, command.stderr
        now = left(folder)
        differing += [f"{folder.name}/{key}" for key, value in expected.items() if now.get(key) != value]
        assert not unfinished(folder)
        with running(folder, "resume=run", "trainer.max_epochs=60") as command:
            counts["kills of longer trainings"] += kill_somewhere(command, chance)
        counts["lost results"] += complete_results(folder) < 30
        shutil.rmtree(folder)
    print(f"{ranks} process(es), {workers} worker(s): {dict(counts)}, differing: {len(differing)}")
    assert differing == []
    assert not counts["lost results"]
    assert counts["while a checkpoint was written"] or KILLS < 50
