"""The processes of one run: the rank of this one, and starting the others on this machine."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from regtorch.errors import RegtorchError, as_one_line
from regtorch.system.forks import closed_in_children
from regtorch.system.launcher import started_as

_STARTED_BY_US = "REGTORCH_RANK"  # environment variable of the processes that a run starts
_OF_LIGHTNING = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # environment variables that Lightning sets and leaves
_SECONDS_TO_END = 10.0  # time for the other processes to exit after the results are written
_SECONDS_TO_NOTICE = 3.0  # time for the other processes to notice that rank 0 ends
_SECONDS_TO_FAIL = 60.0  # time after which a process is ended that waits inside torch for a dead process

log = logging.getLogger("regtorch")


class ProcessError(RegtorchError, RuntimeError):
    """A process of a run ended, and with it the run; the message names the process and the reason."""


@dataclass(frozen=True)
class World:
    """The rank of this process, and the world size.

    Args:
        rank: this process's rank; only rank 0 writes files and prints.
        ranks: the world size.
        ranks_here: number of ranks on this machine.
    """

    rank: int = 0
    ranks: int = 1
    ranks_here: int = 1

    @property
    def machines(self) -> int:
        """The number of machines, all with the same number of processes."""
        return self.ranks // self.ranks_here


def launched() -> World | None:
    """Return the rank and world size from torchrun or Slurm; None if neither started this process.

    Example:
        >>> launched() is None
        True
    """
    if (place := started_as()) is None:
        return None
    rank, ranks, ranks_here = place
    return World(rank, ranks, ranks_here)


@dataclass
class Processes:
    """The other processes of a run, started by this one, which is rank 0."""

    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    store: Any = None  # for rendezvous and for reporting failures
    #: set when the results are written: from then on the other processes cannot make the run fail
    done: bool = False
    closing: threading.Event = field(default_factory=threading.Event)

    def results_are_written(self) -> None:
        """Ignore failures of the other processes from now on."""
        self.done = True
        self.closing.set()

    def wait_until_ready(self, world: World) -> None:
        """Wait until every process is ready to join the process group.

        Raises:
            ProcessError: one of them has ended. The process group would wait for it forever.
        """
        if not self.others:
            if _STARTED_BY_US in os.environ:
                _store().set(f"regtorch/ready/{world.rank}", "yes")
            return
        for rank, process in enumerate(self.others, start=1):
            while not self.store.check([f"regtorch/ready/{rank}"]):
                if process.poll() is not None:
                    raise self.cause_of(
                        ProcessError(f"process {rank} of {len(self.others) + 1} ended before it was ready")
                    )
                time.sleep(0.02)

    def cause_of(self, error: BaseException) -> BaseException:
        """Return the cause of a failure of this process, which often is that another process has ended."""
        foreseen = isinstance(error, RegtorchError) and not isinstance(error, ProcessError)
        if foreseen or not isinstance(error, Exception) or not self.others:
            return error
        for rank, process in enumerate(self.others, start=1):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_NOTICE)
            status = process.poll()
            if status is not None and status < 0:
                name = signal.Signals(-status).name
                return ProcessError(
                    f"process {rank} of {len(self.others) + 1} was killed ({name}), which ended the run"
                )
        for rank in range(1, len(self.others) + 1):
            if self.store.check([_report_of(rank)]):
                reason = self.store.get(_report_of(rank)).decode()
                return ProcessError(f"process {rank} of {len(self.others) + 1}: {reason}")
        return error

    def end(self) -> None:
        """End the processes that are still running, with a warning if the run is done; never raises."""
        seconds = _SECONDS_TO_END if self.done else 0.0
        end = time.monotonic() + seconds
        for process in self.others:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in self.others:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()  # signals the end of this process to them
        for rank, process in enumerate(self.others, start=1):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_NOTICE)
            if process.poll() is None:
                process.kill()
                process.wait()
                if self.done:
                    log.warning(
                        "process %d of %d had not ended %.0f s after the results were written, and was killed; "
                        "the results are complete",
                        rank,
                        len(self.others) + 1,
                        seconds,
                    )


def report(rank: int, reason: str) -> None:
    """Report to rank 0 why this process fails."""
    with suppress(Exception):  # rank 0 may have ended
        _store().set(_report_of(rank), reason)


def _report_of(rank: int) -> str:
    return f"regtorch/report/{rank}"


def _store() -> Any:
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


@contextmanager
def processes(count: int, task: Mapping[str, Any], folder: Path, failed: Callable[[str], None]) -> Iterator[Processes]:
    """Start the other processes of a run on this machine, with this process as rank 0.

    Each runs ``python -m regtorch.training.rank`` with the task as JSON on its standard input, which stays open. They end
    when it is closed, whatever ends this process, so no process is left over. This works wherever the run was started: in
    a sweep, a notebook or another launcher.

    After `Processes.results_are_written`, failures of the other processes only cause a warning.

    Args:
        count: the number of processes; 1 starts none.
        task: the arguments for the other processes.
        folder: folder for their output files; empty ones are removed.
        failed: writes the run's results if this process has to exit at once; takes the reason.

    Yields:
        The started processes.
    """
    if count == 1:
        kept = {name: os.environ.get(name) for name in _OF_LIGHTNING}
        try:
            yield Processes()
        finally:
            for name, value in kept.items():
                os.environ.pop(name, None)
                os.environ |= {} if value is None else {name: value}
        return
    # our own store in place of torchrun's, because a free port found in advance may be taken when it is used
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    own = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        _STARTED_BY_US: "1",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // count)),
    }
    before, threads = dict(os.environ), torch.get_num_threads()
    started = Processes(store=store)
    files: list[IO[str]] = []
    pipes = ExitStack()
    try:
        for rank in range(1, count):
            files.append((folder / f"process_{rank}.log").open("w", encoding="utf-8"))
            process = subprocess.Popen(
                [sys.executable, "-m", "regtorch.training.rank"],
                env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=files[-1],
                stderr=files[-1],
                bufsize=0,
            )
            started.others.append(process)
            assert process.stdin is not None
            pipes.enter_context(
                closed_in_children(process.stdin.fileno())
            )  # otherwise DataLoader workers would keep it open
            process.stdin.write(json.dumps(task).encode() + b"\n")
        os.environ |= {**own, "RANK": "0", "LOCAL_RANK": "0"}
        torch.set_num_threads(int(own["OMP_NUM_THREADS"]))
        threading.Thread(target=_end_with_the_others, args=(started, failed), daemon=True).start()
        yield started
    finally:
        started.closing.set()
        try:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
        except Exception as error:
            log.warning("the process group could not be closed: %s", as_one_line(error))
        pipes.close()
        started.end()
        for file in files:
            file.close()
            with suppress(OSError):
                if not Path(file.name).stat().st_size:
                    Path(file.name).unlink()
        os.environ.clear()
        os.environ |= before
        torch.set_num_threads(threads)


def _end_with_the_others(started: Processes, failed: Callable[[str], None]) -> None:
    """End this process if it still waits inside torch a minute after another process has ended."""
    while not started.closing.wait(1.0):
        gone = [rank for rank, process in enumerate(started.others, start=1) if process.poll() not in (None, 0)]
        if gone and not started.closing.wait(_SECONDS_TO_FAIL):
            reason = f"process {gone[0]} of {len(started.others) + 1} ended while the others waited for it"
            failed(reason)
            print(f"error: {reason}", file=sys.stderr, flush=True)
            os._exit(1)
