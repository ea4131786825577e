"""The processes of one run: which one this is, and starting the others on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from regtorch.errors import RegtorchError

_SECONDS_TO_END = 30.0  # that the other processes of a run have after the first one is done


class ProcessError(RegtorchError, RuntimeError):
    """A process of a run ended, and with it the run; says which and why."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this is.

    Args:
        rank: this process's number; number 0 alone writes files and speaks.
        ranks: how many there are.
        ranks_here: how many of them on this machine.
    """

    rank: int = 0
    ranks: int = 1
    ranks_here: int = 1

    @property
    def machines(self) -> int:
        """How many machines, each with equally many processes."""
        return self.ranks // self.ranks_here


def launched() -> World | None:
    """What torchrun or Slurm say, if one of them started this process; else None.

    Example:
        >>> launched() is None
        True
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        ranks = int(env["WORLD_SIZE"])
        return World(int(env["RANK"]), ranks, int(env.get("LOCAL_WORLD_SIZE", ranks)))
    if (
        "SLURM_PROCID" in env
        and "SLURM_STEP_NUM_TASKS" in env
        and env.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    ):
        ranks = int(env["SLURM_STEP_NUM_TASKS"])
        return World(int(env["SLURM_PROCID"]), ranks, ranks // int(env.get("SLURM_STEP_NUM_NODES", 1)))
    return None


@dataclass
class Processes:
    """The other processes of a run that this one, the first, has started."""

    others: list[subprocess.Popen[str]] = field(default_factory=list)
    reports: dict[int, str] = field(default_factory=dict)  # rank -> what it said when it ended
    readers: list[threading.Thread] = field(default_factory=list)

    def why(self, error: BaseException) -> BaseException:
        """The reason for a failure of this process: often that another one is gone."""
        if isinstance(error, RegtorchError) or not isinstance(error, Exception) or not self.others:
            return error
        for rank, process in enumerate(self.others, start=1):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END / 10)
            status = process.poll()
            if status is not None and status < 0:
                name = signal.Signals(-status).name
                return ProcessError(
                    f"process {rank} of {len(self.others) + 1} was killed ({name}), and the run with it"
                )
        for reader in self.readers:
            reader.join(1.0)
        for rank, report in sorted(self.reports.items()):
            return ProcessError(f"process {rank} of {len(self.others) + 1}: {report}")
        return error


@contextmanager
def processes(count: int, task: Mapping[str, Any], log: Path) -> Iterator[Processes]:
    """Start the other processes of a run on this machine, and make this one the first of them.

    Each runs ``python -m regtorch.training.rank`` with the task as JSON on its standard input, which stays open: when it is
    closed, because this process has ended in whatever way, they end too. So none is ever left behind, and a run
    starts no others, wherever it was started from: a sweep, a notebook, another launcher.

    Args:
        count: of all processes; 1 starts none.
        task: what they are told.
        log: a folder for what they write to their standard error; what nothing was written to is removed.

    Yields:
        The processes that were started.
    """
    if count == 1:
        yield Processes()
        return
    # a store of our own under the name of torchrun's, so that there is no port to be found that may be taken by then
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    own = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // count)),
    }
    before, threads = dict(os.environ), torch.get_num_threads()
    started = Processes()
    files: list[IO[str]] = []
    try:
        for rank in range(1, count):
            files.append((log / f"process_{rank}.log").open("w", encoding="utf-8"))
            process = subprocess.Popen(
                [sys.executable, "-m", "regtorch.training.rank"],
                env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=files[-1],
                text=True,
            )
            started.others.append(process)
            started.readers.append(threading.Thread(target=_read_report, args=(started, rank, process), daemon=True))
            started.readers[-1].start()
            assert process.stdin is not None
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        os.environ |= {**own, "RANK": "0", "LOCAL_RANK": "0"}
        torch.set_num_threads(int(own["OMP_NUM_THREADS"]))
        yield started
        for process in started.others:
            process.wait(_SECONDS_TO_END)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process in started.others:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
        for process in started.others:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END / 10)
            if process.poll() is None:
                process.kill()
                process.wait()
        for file in files:
            file.close()
            if not Path(file.name).stat().st_size:
                Path(file.name).unlink()
        os.environ.clear()
        os.environ |= before
        torch.set_num_threads(threads)


def _read_report(started: Processes, rank: int, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            started.reports[rank] = line.strip()
