"""Parts of error messages about a ``.keras`` file: printable and of bounded length, whatever an untrusted file contains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regtorch.printable import printable

#: characters of a message that lists several items
MESSAGE_LENGTH = 1_900


def shown(value: Any, limit: int = 100) -> str:
    """The `repr` of a value, shortened.

    Example:
        >>> shown([None, 3])
        '[None, 3]'
    """
    try:
        return printable(repr(value), limit)
    except (RecursionError, ValueError):  # deeply nested, or an integer with too many digits
        return f"a {type(value).__name__}"


def counted(names: Sequence[str], most: int = 3) -> str:
    """The first names, and the number of the remaining ones.

    Example:
        >>> counted(["a", "b"]), counted(list("abcdef"))
        ("'a', 'b'", "'a', 'b', 'c', ... 3 more")
    """
    first = ", ".join(shown(name, 60) for name in names[:most])
    return first if len(names) <= most else f"{first}, ... {len(names) - most:,} more"


def joined(items: Sequence[str], limit: int = MESSAGE_LENGTH) -> str:
    """As many items as fit, each shortened, and the number of the remaining ones.

    Example:
        >>> joined(["a", "b"])
        'a; b'
        >>> joined(["a" * 40, "b" * 40, "c" * 40], limit=100)
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; and 2 more'
    """
    parts: list[str] = []
    for item in items:
        item = printable(item)
        if parts and sum(map(len, parts)) + 2 * len(parts) + len(item) > limit - 30:
            return f"{'; '.join(parts)}; and {len(items) - len(parts):,} more"
        parts.append(item)
    return "; ".join(parts)
