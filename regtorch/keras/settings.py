"""Read and check the settings of a Keras object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regtorch.errors import KerasFileError
from regtorch.keras.messages import shown

#: no size in a network reaches this limit
_LARGEST = 2**31


def is_from_keras(module: Any) -> bool:
    """Whether an object of the file comes from Keras itself, or from Keras 2 under its later name tf_keras."""
    return str(module).split(".")[0] in ("keras", "tf_keras")


def tuple_of(value: Any, length: int) -> tuple[Any, ...]:
    """Repeat a single value to this length; return lists and tuples as they are."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * length


class Settings:
    """The settings of one layer, rule or optimizer, by name.

    Args:
        owner: description of the layer, rule or optimizer, for messages.
        values: the settings in the file.

    Raises:
        KerasFileError: they are not a mapping.
    """

    def __init__(self, owner: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise KerasFileError(f"{owner} has no settings")
        self.owner = owner
        self.values = values

    def wrong(self, key: str, wanted: str) -> KerasFileError:
        """Return the error to raise about a setting."""
        return KerasFileError(f"{self.owner}: {key}={shown(self.values.get(key))} is not allowed: it must be {wanted}")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting unchecked."""
        return self.values.get(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(
        self, key: str, default: float | None = None, *, low: float = -_LARGEST, high: float = _LARGEST
    ) -> float:
        """Return a finite number from `low` to `high`."""
        value = self.get(key, default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # nan and inf fail this test, too
            raise self.wrong(key, f"a number from {low:.10g} to {high:.10g}")
        number: float = value
        return number

    def count(self, key: str, default: int | None = None, *, low: int = 1) -> int:
        """Return an integer >= `low` and < 2^31."""
        return self._count(key, self.get(key, default), low)

    def counts(self, key: str, length: int, default: Any = None, *, low: int = 1) -> tuple[int, ...]:
        """Return one integer per dimension; a single number is repeated."""
        value = self.get(key, default)
        numbers = tuple_of(default if value is None else value, length)
        if len(numbers) != length:
            raise self.wrong(key, f"{length} integers")
        return tuple(self._count(key, number, low) for number in numbers)

    def pairs(self, key: str, length: int) -> tuple[tuple[int, int], ...]:
        """Return (before, after) for each dimension, as in paddings and croppings."""
        value = self.get(key)
        if length == 1 and isinstance(value, (list, tuple)) and not any(isinstance(v, (list, tuple)) for v in value):
            value = [value]
        rows = tuple_of(value, length)
        if len(rows) != length:
            raise self.wrong(key, f"{length} pairs of integers")
        return tuple((self._count(key, a, 0), self._count(key, b, 0)) for a, b in (self._pair(key, r) for r in rows))

    def axes(self, key: str, rank: int, default: Any = -1) -> tuple[int, ...]:
        """Return sorted axes, counted from 0, of a tensor with `rank` axes including the batch."""
        value = self.get(key, default)
        found = set()
        for axis in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
                raise self.wrong(key, f"axes of a tensor with {rank}")
            found.add(axis % rank)
        return tuple(sorted(found))

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return one of several strings."""
        value = self.get(key, default)
        if value not in choices:
            raise self.wrong(key, "one of " + ", ".join(choices))
        return str(value)

    def refuse(self, **unsupported: Any) -> None:
        """Refuse settings unless they are absent, null or equal to the given value."""
        for key, allowed in unsupported.items():
            if self.get(key) is not None and self.get(key) != allowed:
                raise self.wrong(key, f"{allowed!r}, as nothing else is supported here")

    def _pair(self, key: str, value: Any) -> tuple[Any, Any]:
        pair = tuple_of(value, 2)
        if len(pair) != 2:
            raise self.wrong(key, "pairs of integers")
        return pair[0], pair[1]

    def _count(self, key: str, value: Any, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value < _LARGEST:
            raise self.wrong(key, f"an integer >= {low} and < {_LARGEST}")
        return value
