"""Exit status of the commands: a user error prints one line and exits with 2, an interrupt with 130; no tracebacks."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from regtorch.errors import RegtorchError, as_one_line
from regtorch.printable import escaped, shortened
from regtorch.system.memory import is_out_of_memory
from regtorch.system.output import print_error
from regtorch.system.start_up import run_command


class CommandCalled(SystemExit):
    """A command was called in a block of `commands_end_the_script`."""


_calls_end_the_script = False


@contextmanager
def commands_end_the_script() -> Iterator[None]:
    """In the block a command raises `CommandCalled` instead of running, in any thread."""
    global _calls_end_the_script
    before, _calls_end_the_script = _calls_end_the_script, True
    try:
        yield
    finally:
        _calls_end_the_script = before


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with the status that it returns, or with the status of its error.

    An unexpected error prints one line and exits with 1; the line names the file with the traceback.
    """
    if _calls_end_the_script:
        raise CommandCalled
    logging.raiseExceptions = False  # a log that cannot be written because the disk is full must not print a traceback
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the terminal's encoding may not have all characters
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(run_command(command))
    except SystemExit as error:
        if isinstance(error.code, str):  # a library exits with a message
            sys.exit(print_error(error.code))
        raise
    except RegtorchError as error:
        sys.exit(print_error(error))
    except OSError as error:  # a folder that cannot be created, a full disk
        sys.exit(print_error(f"{error.filename or 'writing'}: {error.strerror or error}"))
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    except BaseException as error:
        sys.exit(print_unexpected_error(error))


def print_unexpected_error(error: BaseException) -> int:
    """Print an unexpected error as one line, with the path of the file that has its traceback; return status 1.

    The file is in the folder for temporary files, because the current folder may not be writable.
    """
    text = shortened(as_one_line(error), 300)
    if is_out_of_memory(error):
        text = f"there is not enough memory: {text}"
    kept = ""
    with suppress(OSError):
        descriptor, path = tempfile.mkstemp(prefix="regtorch-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(escaped("".join(traceback.format_exception(error)), keep="\n"))
        kept = f" (the traceback is in {path})"
    print_error(f"{text}{kept}")
    return 1


def exit_interrupted(error: SystemExit, hint: str = "") -> NoReturn:
    """Exit after a signal ended a run: with 143 for SIGTERM, 130 for Ctrl-C."""
    print_error(f"interrupted{hint}")
    status = {"SIGTERMException": 143, "Interrupted": error.code}.get(type(error).__name__, 130)
    sys.exit(status)
