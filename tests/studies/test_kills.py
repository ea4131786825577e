"""200 kills at random moments, half of them on two processes: every run goes on by itself and ends with the same bits."""

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

KILLS = 100  # for each number of processes
OF_A_RUN = 20  # after so many it is left in peace
SETTINGS = [
    "hydra.run.dir=run", "dropout=standard", "regularizer=l1_l2", "constraint=max_norm", "scheduler=warmup_cosine",
    "trainer.max_epochs=30", "data.batch_size=16", "checkpoint.every_n_steps=7", "mc.samples=5",
]  # fmt: skip


def left(folder: Path) -> dict[str, Any]:
    """What a run left: the bits of its checkpoints' weights, what it measured, and its table."""
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
    """Kill a process of a run at a random moment; gives whether the run was still at work."""
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
    others = started_by(command.pid)
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


@pytest.mark.parametrize("ranks", [1, 2])
def test_random_kills(ranks: int, tmp_path: Path) -> None:
    on = {1: "trainer=cpu", 2: "trainer=ddp_cpu"}[ranks]
    (tmp_path / "whole").mkdir()
    with running(tmp_path / "whole", *SETTINGS, on) as command:
        assert command.status() == 0, command.stderr
    expected = left(tmp_path / "whole")

    chance, counts = random.Random(ranks), Counter[str]()
    differing: list[str] = []
    while counts["kills"] < KILLS:
        folder = tmp_path / f"run_{counts['runs']}"
        folder.mkdir()
        counts["runs"] += 1
        arguments, peace = [*SETTINGS, on], min(KILLS, counts["kills"] + OF_A_RUN)
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
        shutil.rmtree(folder)
    print(f"{ranks} process(es): {dict(counts)}, differing: {len(differing)}")
    assert differing == []
    assert counts["while a checkpoint was written"]
