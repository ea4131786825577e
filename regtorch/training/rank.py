"""``python -m regtorch.training.rank``: one of the other processes of a run; it is told what to do on its standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from traceback import print_exc


def main() -> None:
    """Run the run's task as the process that the environment says, and end with the first process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the run takes it: Ctrl-C reaches the first process too
    task = json.loads(sys.stdin.readline())
    ended = threading.Event()
    threading.Thread(target=_end_with_the_first, args=(ended,), daemon=True).start()
    out, sys.stdout = sys.stdout, sys.stderr  # standard output is for the report alone

    import torch

    from regtorch.errors import RegtorchError
    from regtorch.registry import create
    from regtorch.training.interruption import is_distributed
    from regtorch.training.judged import HaltedError, Judged
    from regtorch.training.run import run

    try:
        path = task["ckpt_path"]
        data = create("data", **task["config"]["data"])
        judged = Judged(None) if task["judged"] else None
        run(task["config"], data, Path(task["folder"]), Path(path) if path else None, task["overrides"], judged)
    except HaltedError:  # as the first process was, which says so
        pass
    except Exception as error:
        if not isinstance(error, RegtorchError):
            print_exc()
        print(f"{type(error).__name__}: {error}".splitlines()[0], file=out, flush=True)
        sys.exit(1)
    finally:
        ended.set()
        if is_distributed():
            torch.distributed.destroy_process_group()


def _end_with_the_first(ended: threading.Event) -> None:
    sys.stdin.read()  # comes back when the first process has closed it, or is no more
    if not ended.wait(2.0):
        os._exit(1)


if __name__ == "__main__":
    main()
