"""Command lines in separate processes that start with everything imported, so that a test can run many of them.

Signals, exit statuses, processes and files behave as for a command that a user starts.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["regtorch.training.run", "regtorch.cli.train", "hydra.main", "tensorboard"])

SECONDS = 900.0  # timeout of each wait; only a hanging process reaches it


class Command:
    """A running command line.

    Args:
        folder: working folder.
        arguments: command-line arguments.
        script: name of the script.
        file_size: limit of the size of files in bytes, to simulate a full disk; None: no limit.
        first: called in the process before the command.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        script: str = "train.py",
        file_size: int | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self._output = Path(tempfile.mkdtemp())
        self.process = _processes.Process(target=_run, args=(folder, self._output, script, arguments, file_size, first))
        self.process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process.pid is not None
        return self.process.pid

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, signum)

    def status(self) -> int:
        """Wait for its end and return the exit status."""
        self.process.join(SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(self.stderr)
        return self.process.exitcode

    def until(self, reached: Callable[[], object]) -> None:
        """Wait until a condition holds, while the process runs."""
        wait(lambda: self.process.exitcode is not None or reached())
        assert self.process.exitcode is None, self.stderr

    @property
    def stderr(self) -> str:
        """Its text on standard error."""
        return (self._output / "stderr").read_text()

    @property
    def stdout(self) -> str:
        """Its text on standard output."""
        return (self._output / "stdout").read_text()

    @property
    def errors(self) -> list[str]:
        """Its error lines."""
        assert "Traceback" not in self.stderr
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]


@contextmanager
def running(folder: Path, *arguments: str, **settings: object) -> Iterator[Command]:
    """A command that is ended after the block in any case."""
    command = Command(folder, *arguments, **settings)  # type: ignore[arg-type]
    try:
        yield command
    finally:
        if command.process.is_alive():
            command.process.kill()
            command.process.join()


def ended(folder: Path, *arguments: str, script: str = "train.py") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with running(folder, *arguments, script=script) as command:
        status = command.status()
    return subprocess.CompletedProcess(arguments, status, command.stdout, command.stderr)


def wait(reached: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


def started_by(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _run(
    folder: Path,
    output_folder: Path,
    script: str,
    arguments: Sequence[str],
    file_size: int | None,
    first: Callable[[], None] | None,
) -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        file = os.open(output_folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.argv = [str(Path(__file__).parents[2] / "scripts" / script), *arguments]
    if file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if first is not None:
        first()

    runpy.run_path(sys.argv[0], run_name="__main__")
