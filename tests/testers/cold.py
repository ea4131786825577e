"""Command lines in processes that have not imported torch, and that record if they import it.

One process is started that has imported the common modules; each command line runs in a fork of it.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass(frozen=True)
class Answer:
    """The result of a command line.

    Args:
        returncode: exit status.
        stdout: text on standard output.
        stderr: text on standard error.
        imported_torch: whether it imported torch.
    """

    returncode: int
    stdout: str
    stderr: str
    imported_torch: bool


def answered(script: str, arguments: Sequence[str], folder: Path) -> Answer:
    """Run one of the scripts in a folder."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps([str(SCRIPTS / script), list(arguments), str(folder)]), file=server.stdin, flush=True)
    return Answer(**json.loads(server.stdout.readline()))


def refusal(script: str, arguments: Sequence[str], folder: Path, *, imports_torch: bool = False) -> str:
    """The one-line error of one of the scripts for invalid arguments."""
    answer = answered(script, arguments, folder)
    lines = answer.stderr.splitlines()
    assert answer.returncode == 2, answer.stderr
    assert answer.imported_torch == imports_torch
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("error: ")
    assert answer.stdout == ""
    return lines[0]


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
    from hydra import compose, initialize_config_module

    import regtorch.cli.compare
    import regtorch.cli.predict
    import regtorch.cli.train  # noqa: F401

    with initialize_config_module("regtorch.conf", version_base="1.3"):  # modules that Hydra imports on first use
        compose("train")
    assert "torch" not in sys.modules
    for line in sys.stdin:
        script, arguments, folder = json.loads(line)
        print(json.dumps(_fork(script, arguments, folder)), flush=True)


def _fork(script: str, arguments: list[str], folder: str) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as spy:
        pid = os.fork()
        if not pid:
            for file, descriptor in ((out, 1), (errors, 2)):
                os.dup2(file.fileno(), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(_run(script, arguments, folder, spy.fileno()))
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (out, errors, spy):
            file.seek(0)
            texts.append(file.read().decode())
    answer = {"returncode": os.waitstatus_to_exitcode(status), "stdout": texts[0], "stderr": texts[1]}
    return {**answer, "imported_torch": texts[2] == "torch"}


def _run(script: str, arguments: list[str], folder: str, spy: int) -> int:
    os.chdir(folder)
    sys.argv = [script, *arguments]
    sys.path[0] = str(SCRIPTS)
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    os.write(spy, b"torch" if "torch" in sys.modules else b"")
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    _serve()
