"""The torchrun command of the documentation, with two nodes on this machine."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
(COMMAND,) = re.findall(r"^    (torchrun .*)", (ROOT / "docs/devices.md").read_text(encoding="utf-8"), re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, *options: str) -> list[tuple[int, str, str]]:
    """Run two nodes with one process each; return the exit status, output and errors of each."""
    command = COMMAND.replace("--nproc-per-node=4", "--nproc-per-node=1").replace(
        "host:29500", f"127.0.0.1:{free_port()}"
    )
    command = command.replace("scripts/train.py", str(ROOT / "scripts/train.py"))
    _, *arguments = shlex.split(command)
    run = [sys.executable, "-m", "torch.distributed.run", *arguments, "trainer.accelerator=cpu", *options]
    nodes = [subprocess.Popen(run, cwd=folder, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    ended = [node.communicate(timeout=300) for node in nodes]
    return [(node.returncode, *message) for node, message in zip(nodes, ended, strict=True)]


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_nodes_make_one_run(tmp_path: Path, strategy: str) -> None:
    options = ["data.batch_size=16", "dropout=standard", "mc.samples=3"]
    nodes = start(tmp_path, *options, f"trainer.strategy={strategy}", "trainer.max_epochs=2")
    assert [status for status, *_ in nodes] == [0, 0], nodes
    (results,) = tmp_path.glob("outputs/*/*/results.json")
    assert json.loads(results.read_text())["status"] == "completed"
    assert sum(str(results.parent) in out for _, out, _ in nodes) == 1  # only rank 0 prints
    assert len((results.parent / "train.log").read_text().splitlines()) == 3  # and writes
    if strategy == "ddp":  # resuming does not depend on the strategy, and takes long
        return
    nodes = start(tmp_path, f"resume={results.parent}", "trainer.max_epochs=3")
    assert [status for status, *_ in nodes] == [0, 0], nodes
    assert len((results.parent / "metrics.csv").read_text().splitlines()) == 4
    assert [path.parent for path in tmp_path.glob("outputs/*/*/results.json")] == [results.parent]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer=cpu"], "trainer.devices=1 is not allowed in a process that torchrun or srun started"),
        (
            ["-m", "seed=1,2", "trainer=multi_node", "trainer.accelerator=cpu"],
            "-m is not allowed in processes that torchrun",
        ),
    ],
)
def test_commands_that_torchrun_may_not_start(tmp_path: Path, arguments: list[str], message: str) -> None:
    run = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=1",
        str(ROOT / "scripts/train.py"),
        *arguments,
    ]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert f"error: {message}" in done.stderr
    assert not list(tmp_path.glob("**/results.json"))


def test_multi_node_without_torchrun(tmp_path: Path) -> None:
    run = [sys.executable, str(ROOT / "scripts/train.py"), "trainer=multi_node"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: trainer.devices=launched (trainer=multi_node) is allowed only in processes that torchrun"
    )
