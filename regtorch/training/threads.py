"""Failures of threads, such as TensorBoard's event writer: their tracebacks go to the log file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from regtorch.errors import as_one_line

log = logging.getLogger("regtorch")


@contextmanager
def threads_without_tracebacks() -> Iterator[None]:
    """Do not print exceptions of threads in the block.

    If the run depends on the thread, the main thread raises as well, and reports that in one line. If the block succeeds,
    each exception is logged as a warning of one line.
    """
    before, failures = threading.excepthook, []

    def note(failure: Any) -> None:
        if failure.exc_value is None or isinstance(failure.exc_value, SystemExit):
            return
        name = "a thread" if failure.thread is None else f"the thread {failure.thread.name}"
        failures.append(f"{name} failed: {as_one_line(failure.exc_value)}")
        trace = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, failures[-1], (), trace))

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before
    for failure in failures:
        log.warning("%s (the traceback is in the log file)", failure)
