"""The limit of open files, which data-loading workers use up."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from regtorch.errors import SettingError

#: error numbers for the limits of this process and of the machine
TOO_MANY = (errno.EMFILE, errno.ENFILE)

_FILES_PER_WORKER = 3  # lower bound: the pipe of its queue, and the one that signals its end
_OTHER_FILES = 16  # lower bound for everything else: queues of batches, logs, checkpoints


class TooManyFilesError(SettingError, OSError):
    """A setting that needs more open files than the process may have."""


def limit() -> int | None:
    """Raise the limit of open files as far as permitted and return it; None: unknown or unlimited.

    Example:
        >>> (limit() or 1000) > 0
        True
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and (hard == unlimited or soft < hard):
        with suppress(ValueError, OSError):  # macOS permits less than it reports
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == unlimited else soft


def check_open_files(workers: int) -> None:
    """Raise if this process cannot open enough files for so many workers.

    Raises:
        TooManyFilesError: it certainly cannot; somewhat fewer workers may fail too.

    Example:
        >>> check_open_files(0)
    """
    allowed = limit()
    if not workers or allowed is None or _open_now() + _OTHER_FILES + _FILES_PER_WORKER * workers <= allowed:
        return
    raise TooManyFilesError(too_many_files(workers))


def too_many_files(workers: int) -> str:
    """Message and remedy for too many open files."""
    allowed = limit()
    reason = "too many files are open" if allowed is None else f"this process may open only {allowed} files"
    remedy = "raise the limit (ulimit -n)"
    if workers:
        return f"data.workers={workers} is not allowed: {reason}; use fewer workers, or {remedy}"
    return f"{reason}; {remedy}"


def _open_now() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208
    return 3
