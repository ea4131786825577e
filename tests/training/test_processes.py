"""The other processes of a run: their late failures do not affect the results, and none is left over."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regtorch.training import processes
from regtorch.training.processes import Processes
from tests.testers.command import running


def process(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, bufsize=0)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("", 0, ""),
        ("import os; os._exit(3)", 3, ""),  # it fails late
        ("import sys; sys.stdin.read()", 0, ""),  # it ends with rank 0
        ("import time; time.sleep(600)", -9, "the results are complete"),
    ],
)
def test_after_the_results_are_written(
    code: str, status: int, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.5)
    monkeypatch.setattr(processes, "_SECONDS_TO_NOTICE", 0.5 if status == -9 else 60.0)
    started = Processes([process(code)])
    started.results_are_written()
    with caplog.at_level(logging.WARNING):
        started.end()
    assert started.others[0].returncode == status
    assert message in caplog.text if message else not caplog.text
    assert started.closing.is_set()


def test_a_failed_run_ends_them_without_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "_SECONDS_TO_NOTICE", 0.1)
    started = Processes([process("import time; time.sleep(600)") for _ in range(2)])
    started.end()
    assert [other.returncode for other in started.others] == [-9, -9]
    assert not caplog.text


def _slow_to_end() -> None:
    """Let the second process take ten minutes to end."""
    Path("sitecustomize.py").write_text(
        "import atexit, os, time\nif os.environ.get('REGTORCH_RANK'): atexit.register(time.sleep, 600)\n"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    processes._SECONDS_TO_END = processes._SECONDS_TO_NOTICE = 0.1


def test_two_processes_with_workers_complete_even_if_one_ends_late(tmp_path: Path) -> None:
    settings = [
        "trainer=ddp_cpu",
        "data=synthetic",
        "data.rows=120",
        "data.workers=1",
        "trainer.max_epochs=1",
        "mc=none",
    ]
    with running(tmp_path, *settings, "hydra.run.dir=run", first=_slow_to_end) as command:
        assert command.status() == 0, command.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert (results["status"], sorted(results["test"])[0]) == ("completed", "accuracy")
    assert "process 1 of 2 had not ended" in command.stderr
