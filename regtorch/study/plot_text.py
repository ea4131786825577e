"""Names in a picture: as they stand, where matplotlib would read a formula."""

from __future__ import annotations

from regtorch.printable import printable

_MOST_CHARACTERS = 80


def plain(text: str) -> str:
    r"""A name for a label or an axis: a dollar sign begins no formula, and a long name loses its middle.

    Example:
        >>> print(plain("data.path=$x$"))
        data.path=\$x\$
    """
    return printable(text, _MOST_CHARACTERS).replace("$", r"\$")
