"""How many files a process may have open, which workers that fetch batches take up."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from regtorch.errors import SettingError

#: what the operating system answers when this process, or the machine, has no more
TOO_MANY = (errno.EMFILE, errno.ENFILE)

_OF_A_WORKER = 3  # at least: the pipe of its queue, and the one that tells its end
_OTHERS = 16  # at least, besides: queues for what the workers fetch, logs, checkpoints


class TooManyFilesError(SettingError, OSError):
    """A setting that needs more open files than the process may have."""


def limit() -> int | None:
    """How many files this process may have open, after the limit is raised as far as it may be; None: unknown.

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
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == unlimited else soft


def check_open_files(workers: int) -> None:
    """Refuse so many workers that this process cannot open enough files for them.

    Raises:
        TooManyFilesError: it certainly cannot; fewer may fail too.

    Example:
        >>> check_open_files(0)
    """
    allowed = limit()
    if not workers or allowed is None or _open_now() + _OTHERS + _OF_A_WORKER * workers <= allowed:
        return
    raise TooManyFilesError(too_many_files(workers))


def too_many_files(workers: int) -> str:
    """What to say, and to do, where open files run out."""
    allowed = limit()
    may = "the open files ran out" if allowed is None else f"this process may have {allowed} files open, too few"
    remedy = "raise the limit (ulimit -n)"
    if workers:
        return f"data.workers={workers} is not allowed: {may}; take fewer workers, or {remedy}"
    return f"{may}; {remedy}"


def _open_now() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208
    return 3
