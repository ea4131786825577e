"""Escaping of names in plots, where matplotlib would read formulas."""

from __future__ import annotations

from regtorch.printable import printable

_MOST_CHARACTERS = 80


def plain(text: str) -> str:
    r"""Prepare a name for a label or an axis: dollar signs are escaped, and the middle of a long name is removed.

    Example:
        >>> print(plain("data.path=$x$"))
        data.path=\$x\$
    """
    return printable(text, _MOST_CHARACTERS).replace("$", r"\$")
