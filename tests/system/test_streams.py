"""A closed standard output, or one without a reader, is not an error; a forked child has its own streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = "import os, sys; from regtorch.system.streams import *; make_streams_usable(); fresh_streams_in_children()\n"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes descriptors like POSIX shells")


def python(code: str, redirected: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "code.py").write_text(START + code)
    command = f"set -o pipefail; {sys.executable} code.py {redirected}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=folder, timeout=120)


@pytest.mark.parametrize(
    ("redirected", "status"),
    [
        ("| true", 0), ("2>&1 | true", 0), (">&-", 0), ("2>&-", 0), ("<&-", 0), ("<&- >&- 2>&-", 0),
        ("> /dev/full", 1),  # the redirected output was lost
    ],
)  # fmt: skip
def test_output_without_a_reader(redirected: str, status: int, tmp_path: Path) -> None:
    code = (
        "import time; time.sleep(0.2)\n"
        "kept = open('kept.txt', 'w')\n"
        "for _ in range(2000): print('to standard output ' * 5)\n"
        "print('to standard error', file=sys.stderr); sys.stdout.flush()\n"
        "kept.write('complete'); kept.close(); assert not sys.stdin.isatty()\n"
    )
    done = python(code, redirected, tmp_path)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "kept.txt").read_text() == ("" if status else "complete")  # without printed text


def test_a_child_forked_while_a_thread_reads_does_not_hang(tmp_path: Path) -> None:
    code = """
import multiprocessing, threading

read, write = os.pipe()
os.dup2(read, 0)
threading.Thread(target=sys.stdin.read, daemon=True).start()

import time; time.sleep(0.3)

def work():
    sys.stderr.write("worked")

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(60)
status = child.exitcode
if status is None:
    child.kill()
os._exit(0 if status == 0 else 1)
"""
    done = python(code, "", tmp_path)
    assert (done.returncode, done.stderr) == (0, "worked")
