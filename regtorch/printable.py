"""Text for a terminal or a table: printable characters only, on one line, and of bounded length."""

from __future__ import annotations

#: the limit for a message, for a cell and for a value in a message
MOST_CHARACTERS = 500

_LEFT_OUT = " [...] "


def printable(text: object, most: int | None = MOST_CHARACTERS) -> str:
    r"""Put a text on one line, with control characters, escape sequences and direction marks shown as escapes.

    Args:
        text: any text from a file, the command line or an exception.
        most: number of characters; a longer text loses its middle. None: no limit.

    Example:
        >>> print(printable("seed=\x1b[31mred\nsecond   line \u202e"))
        seed=\x1b[31mred second line \u202e
        >>> printable("a" * 1000, most=20)
        'aaaaaaa [...] aaaaaa'
    """
    flat = " ".join(_as_text(text, most).split())
    return escaped(flat) if most is None else shortened(escaped(flat), most)


def escaped(text: str, keep: str = "") -> str:
    r"""Show every unprintable character of a text as an escape, except those in `keep`.

    Example:
        >>> print(escaped("a\x1b[0m\nb", keep="\n"))
        a\x1b[0m
        b
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Remove the middle of a text that is longer than `most` characters.

    Example:
        >>> shortened("short"), len(shortened("a" * 10_000))
        ('short', 500)
    """
    if len(text) <= most:
        return text
    kept = most - len(_LEFT_OUT)
    return f"{text[: kept - kept // 2]}{_LEFT_OUT}{text[len(text) - kept // 2 :]}"


def cell(text: object) -> str:
    """Write a text as a table cell that a spreadsheet does not read as a formula.

    Example:
        >>> cell("=HYPERLINK(1)"), cell("-0.5"), cell("l2")
        ("'=HYPERLINK(1)", '-0.5', 'l2')
    """
    flat = printable(text)
    return f"'{flat}" if flat[:1] in ("=", "+", "-", "@") and not _is_number(flat) else flat


def _as_text(text: object, most: int | None) -> str:
    try:
        complete = str(text)
    except Exception as error:  # the object's __str__ may be broken
        return f"{type(text).__name__} ({type(error).__name__})"
    # a text of gigabytes is cut before each of its characters is looked at
    return complete if most is None else shortened(complete, 20 * most)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
