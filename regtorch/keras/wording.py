"""How messages show what a file holds: short and printable, whatever an untrusted file says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: characters of one item of a message, and of a message with several
ITEM, MESSAGE = 500, 1_900


def printable(text: str) -> str:
    """One line without control characters.

    Example:
        >>> printable("a\\nb\\x1b[31m")
        'a b\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)


def shortened(text: str, limit: int = ITEM) -> str:
    """A text of at most so many characters: its middle is left out.

    Example:
        >>> shortened("a" * 600, 11)
        'aaaaa ... a'
    """
    text = printable(text[: 4 * limit] + text[-4 * limit :] if len(text) > 8 * limit else text)
    if len(text) <= limit:
        return text
    end = max((limit - 5) // 4, 1)
    return f"{text[: limit - 5 - end]} ... {text[-end:]}"


def shown(value: Any, limit: int = 100) -> str:
    """A value as Python writes it, shortened.

    Example:
        >>> shown([None, 3])
        '[None, 3]'
    """
    try:
        return shortened(repr(value), limit)
    except (RecursionError, ValueError):  # nested deeply, or a whole number of very many digits
        return f"a {type(value).__name__}"


def counted(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are.

    Example:
        >>> counted(["a", "b"]), counted(list("abcdef"))
        ("'a', 'b'", "'a', 'b', 'c', ... 3 more")
    """
    first = ", ".join(shown(name, 60) for name in names[:most])
    return first if len(names) <= most else f"{first}, ... {len(names) - most:,} more"


def joined(items: Sequence[str], limit: int = MESSAGE) -> str:
    """As many items as fit, each of them shortened, and how many more there are.

    Example:
        >>> joined(["a", "b"])
        'a; b'
        >>> joined(["a" * 40, "b" * 40, "c" * 40], limit=100)
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; and 2 more'
    """
    parts: list[str] = []
    for item in items:
        item = shortened(item)
        if parts and sum(map(len, parts)) + 2 * len(parts) + len(item) > limit - 30:
            return f"{'; '.join(parts)}; and {len(items) - len(parts):,} more"
        parts.append(item)
    return "; ".join(parts)
