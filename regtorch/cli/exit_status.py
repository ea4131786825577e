"""How a command ends: a user's mistake is one line and status 2, an interrupt 130, and no traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from regtorch.errors import RegtorchError


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with the status that it gives back, or with that of its error."""
    logging.raiseExceptions = False  # a log that cannot be written, as the disk is full, is no reason for a traceback
    try:
        sys.exit(command())
    except RegtorchError as error:
        sys.exit(say(error))
    except OSError as error:  # a folder that cannot be made, a disk that is full
        sys.exit(say(f"{error.filename or 'writing'}: {error.strerror or error}"))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def exit_interrupted(error: SystemExit, hint: str = "") -> NoReturn:
    """End the process after a run has ended on a signal: 143 on SIGTERM, 130 on Ctrl-C."""
    say(f"interrupted{hint}")
    status = {"SIGTERMException": 143, "Interrupted": error.code}.get(type(error).__name__, 130)
    sys.exit(status)


def say(error: Any) -> int:
    """Say what is wrong in one line; gives back status 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2
