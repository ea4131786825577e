"""``python -m regtorch.training.rank``: another process of a run, which reads its task from standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from traceback import print_exc

from regtorch.system.streams import fresh_streams_in_children


def main() -> None:
    """Run the task with the rank of the environment, and exit when rank 0 exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the run handles it: Ctrl-C reaches rank 0 too
    first = _own_input()
    task = json.loads(_line(first))
    ended = threading.Event()
    threading.Thread(target=_exit_with_the_first, args=(first, ended), daemon=True).start()
    fresh_streams_in_children()

    import torch

    from regtorch.errors import RegtorchError
    from regtorch.registry import create
    from regtorch.registry.user_script import UserScript
    from regtorch.training.interruption import is_distributed
    from regtorch.training.processes import report
    from regtorch.training.pruning import PrunedError, PruningCallback
    from regtorch.training.run import run

    try:
        if task["user_script"] is not None:
            UserScript(**task["user_script"]).register_again()
        path = task["ckpt_path"]
        data = create("data", **task["config"]["data"])
        pruning = PruningCallback(None) if task["pruning"] else None
        run(task["config"], data, Path(task["folder"]), Path(path) if path else None, task["overrides"], pruning)
    except PrunedError:  # rank 0 reports it
        pass
    except Exception as error:
        if not isinstance(error, RegtorchError):
            print_exc()
        report(int(os.environ["RANK"]), f"{type(error).__name__}: {error}".splitlines()[0])
        sys.exit(1)
    finally:
        ended.set()
        if is_distributed():
            torch.distributed.destroy_process_group()


def _own_input() -> int:
    """Move the pipe from rank 0 away from standard input.

    A thread blocks in a read of the pipe. If it read from `sys.stdin`, it would hold that file's lock, and a forked
    DataLoader worker would wait for the lock when it closes its standard input.
    """
    pipe, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - stays open
    return pipe


def _line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not (read := os.read(descriptor, 65536)):
            sys.exit(1)  # rank 0 has ended already
        line += read
    return line


def _exit_with_the_first(pipe: int, ended: threading.Event) -> None:
    os.read(pipe, 1)  # returns when rank 0 has closed it or ended
    if not ended.wait(2.0):
        os._exit(1)


if __name__ == "__main__":
    main()
