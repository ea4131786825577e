"""``--help`` and ``--version`` of each command, wrapped to the terminal's width."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

_WIDEST = 120  # longer lines are hard to read
_USUAL = 80  # if the terminal's width is unknown
_NARROWEST_COLUMN = 24  # of text beside its key; in a narrower terminal the text starts further left
_ITEM = re.compile(r"( *)(\S.*? {2,})(?=\S)")  # a key with text beside it


def print_requested_help(arguments: Sequence[str], help_text: Callable[[], str]) -> bool:
    """Print the help or the version if a command line asks for it; return whether it did.

    Args:
        arguments: the command line.
        help_text: returns the help; the lines of a paragraph may be broken anywhere.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(wrapped(help_text(), terminal_width()), end="")
        return True
    if "--version" in arguments:
        import regtorch

        print(f"regtorch {regtorch.__version__}")
        return True
    return False


def terminal_width() -> int:
    """Return the terminal's columns: ``COLUMNS``, or those of a standard stream that is a terminal; else 80."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns) > 0:
        return int(columns)
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            if stream is not None and (found := os.get_terminal_size(stream.fileno()).columns) > 0:
                return found
        except (OSError, ValueError):  # no terminal, or closed
            continue
    return shutil.get_terminal_size((_USUAL, 24)).columns


def wrapped(text: str, width: int) -> str:
    """Wrap each paragraph and item of the text between words to at most `width` columns.

    A line with the same indentation as the text of the item above continues that item.

    Example:
        >>> print(wrapped("  seed  of the masks,\\n        0 or more", 18), end="")
          seed  of the
            masks, 0 or
            more
    """
    blocks: list[tuple[int, str, int]] = []  # indent of the first line, words, column where the text starts
    in_block = False
    for line in text.splitlines():
        indent, words = len(line) - len(line.lstrip(" ")), line.strip()
        if not words:
            blocks.append((0, "", 0))
            in_block = False
            continue
        if in_block and blocks[-1][2] == indent and not _ITEM.match(line) and not words.startswith("regtorch-"):
            first, before, column = blocks[-1]
            blocks[-1] = (first, f"{before} {words}", column)
            continue
        item = _ITEM.match(line)
        blocks.append((indent, words, item.end() if item else indent))
        in_block = True
    return "".join(f"{_block(*block, min(width, _WIDEST))}\n" for block in blocks)


def _block(indent: int, words: str, column: int, width: int) -> str:
    if column > indent and width - column < _NARROWEST_COLUMN:
        column = indent + 2
    if indent > 4 and width - indent < _NARROWEST_COLUMN:
        indent = column = 4
    lines = _lines(words, indent, column, width)
    if column > indent + 2 and any(len(line) > width for line in lines):  # a long word has room further left
        lines = _lines(words, indent, indent + 2, width)
    return "\n".join(lines)


def _lines(words: str, indent: int, column: int, width: int) -> list[str]:
    return textwrap.wrap(
        " " * indent + words,
        max(width, indent + 1),
        subsequent_indent=" " * column,
        break_long_words=False,
        break_on_hyphens=False,
    )
