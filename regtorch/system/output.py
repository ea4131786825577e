"""Output of the commands: printable characters only and no markup, whatever a name or a file contains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from regtorch.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


def print_error(error: object) -> int:
    """Print an error as one line on standard error; return exit status 2."""
    print_message(f"error: {printable(error)}")
    return 2


def print_message(text: object) -> None:
    """Print one line on standard error."""
    print(printable(text, None), file=sys.stderr, flush=True)


def print_output(text: object) -> None:
    """Print one line on standard output."""
    print(printable(text, None))


def console(**settings: Any) -> Console:
    """Return a rich console that prints text verbatim, without markup.

    Args:
        **settings: arguments of `rich.console.Console`.

    Example:
        >>> import io
        >>> file = io.StringIO()
        >>> console(file=file).print("[red]a[/red] \\x1b[31mb")
        >>> print(file.getvalue(), end="")
        [red]a[/red] \\x1b[31mb
    """
    from regtorch.system.plain_console import PlainConsole

    return PlainConsole(**{"highlight": False, **settings, "markup": False, "emoji": False})
