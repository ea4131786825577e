"""How a command ends: a user's mistake is one line and status 2, an interrupt 130, and nothing is a traceback."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from regtorch.cli.output import print_error
from regtorch.cli.start_up import run_command
from regtorch.errors import RegtorchError, as_one_line
from regtorch.memory import is_out_of_memory
from regtorch.printable import escaped, shortened


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with the status that it gives back, or with that of its error.

    An error that nobody foresaw is one line and status 1; its traceback is in a file that the line names.
    """
    logging.raiseExceptions = False  # a log that cannot be written, as the disk is full, is no reason for a traceback
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that does not have all characters
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(run_command(command))
    except SystemExit as error:
        if isinstance(error.code, str):  # of a library that ends the process with a text
            sys.exit(print_error(error.code))
        raise
    except RegtorchError as error:
        sys.exit(print_error(error))
    except OSError as error:  # a folder that cannot be made, a disk that is full
        sys.exit(print_error(f"{error.filename or 'writing'}: {error.strerror or error}"))
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    except BaseException as error:
        sys.exit(print_unexpected_error(error))


def print_unexpected_error(error: BaseException) -> int:
    """Say an error that nobody foresaw in one line, and where its traceback is; gives back status 1.

    The file is in the folder of temporary files: the current folder may be anybody's, and may not be writable.
    """
    if is_out_of_memory(error):
        said = f"there is not enough memory: {shortened(as_one_line(error), 300)}"
    else:
        said = shortened(as_one_line(error), 300)
    kept = ""
    with suppress(OSError):
        descriptor, path = tempfile.mkstemp(prefix="regtorch-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(escaped("".join(traceback.format_exception(error)), keep="\n"))
        kept = f" (the traceback is in {path})"
    print_error(f"{said}{kept}")
    return 1


def exit_interrupted(error: SystemExit, hint: str = "") -> NoReturn:
    """End the process after a run has ended on a signal: 143 on SIGTERM, 130 on Ctrl-C."""
    print_error(f"interrupted{hint}")
    status = {"SIGTERMException": 143, "Interrupted": error.code}.get(type(error).__name__, 130)
    sys.exit(status)
