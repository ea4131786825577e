"""Processes that fetch batches: one that cannot hand a batch over ends, instead of keeping the training waiting for it."""

from __future__ import annotations

import errno
import os
from multiprocessing.queues import Queue
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from regtorch.open_files import TOO_MANY

#: the exit status of a worker that has too many files open
OUT_OF_FILES = errno.EMFILE


def fail_fast(batches: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader, whose workers end when a batch cannot be handed over; Lightning's seeds for workers stay."""
    if batches.num_workers:
        batches.worker_init_fn = _begin
    return batches


def _begin(worker: int) -> None:
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]
    if int(os.environ.get("PL_SEED_WORKERS", "0")):
        pl_worker_init_function(worker)


def _end(error: Exception, batch: Any) -> None:
    os._exit(OUT_OF_FILES if getattr(error, "errno", None) in TOO_MANY else 1)
