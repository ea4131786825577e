"""DataLoader workers that exit when they cannot send a batch, instead of blocking the training."""

from __future__ import annotations

import errno
import os
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from regtorch.compat.multiprocessing_internals import call_if_sending_fails
from regtorch.system.open_files import TOO_MANY

#: the exit status of a worker that has too many files open
OUT_OF_FILES = errno.EMFILE


def fail_fast(batches: DataLoader[Any]) -> DataLoader[Any]:
    """Let the workers of a loader exit when they cannot send a batch; Lightning's seeds for workers are kept."""
    if batches.num_workers:
        batches.worker_init_fn = _init_worker
    return batches


def _init_worker(worker: int) -> None:
    call_if_sending_fails(_exit)
    if int(os.environ.get("PL_SEED_WORKERS", "0")):
        pl_worker_init_function(worker)


def _exit(error: Exception, batch: Any) -> None:
    os._exit(OUT_OF_FILES if getattr(error, "errno", None) in TOO_MANY else 1)
