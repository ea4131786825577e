"""Reading a Keras object's configuration: what it must hold is checked, and what it holds else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regtorch.errors import KerasFileError
from regtorch.keras.wording import shown

#: numbers beyond this are no sizes of a network
_LARGEST = 2**31


def of_keras(module: Any) -> bool:
    """Whether an object of the file comes from Keras itself (or from Keras 2 under its later name)."""
    return str(module).split(".")[0] in ("keras", "tf_keras")


def tuple_of(value: Any, length: int) -> tuple[Any, ...]:
    """One value for all places, or as many values as there are places."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * length


class Settings:
    """The settings of one layer, rule or optimizer, by name.

    Args:
        owner: what they are settings of, for messages.
        values: as the file has them.

    Raises:
        KerasFileError: they are no mapping.
    """

    def __init__(self, owner: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise KerasFileError(f"{owner} has no settings")
        self.owner = owner
        self.values = values

    def wrong(self, key: str, wanted: str) -> KerasFileError:
        """The error to raise about a setting."""
        return KerasFileError(f"{self.owner}: {key}={shown(self.values.get(key))} is not allowed: it must be {wanted}")

    def get(self, key: str, default: Any = None) -> Any:
        """A setting as it is."""
        return self.values.get(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(
        self, key: str, default: float | None = None, *, low: float = -_LARGEST, high: float = _LARGEST
    ) -> float:
        """A finite number from `low` to `high`."""
        value = self.get(key, default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # which leaves out nan and inf
            raise self.wrong(key, f"a number from {low:.10g} to {high:.10g}")
        number: float = value
        return number

    def count(self, key: str, default: int | None = None, *, low: int = 1) -> int:
        """A whole number, by default from 1, below 2^31."""
        return self._count(key, self.get(key, default), low)

    def counts(self, key: str, length: int, default: Any = None, *, low: int = 1) -> tuple[int, ...]:
        """As many whole numbers as there are dimensions; one number stands for all."""
        value = self.get(key, default)
        numbers = tuple_of(default if value is None else value, length)
        if len(numbers) != length:
            raise self.wrong(key, f"{length} whole numbers")
        return tuple(self._count(key, number, low) for number in numbers)

    def pairs(self, key: str, length: int) -> tuple[tuple[int, int], ...]:
        """(before, after) for each dimension, as paddings and croppings are written."""
        value = self.get(key)
        if length == 1 and isinstance(value, (list, tuple)) and not any(isinstance(v, (list, tuple)) for v in value):
            value = [value]
        rows = tuple_of(value, length)
        if len(rows) != length:
            raise self.wrong(key, f"{length} pairs of whole numbers")
        return tuple((self._count(key, a, 0), self._count(key, b, 0)) for a, b in (self._pair(key, r) for r in rows))

    def axes(self, key: str, rank: int, default: Any = -1) -> tuple[int, ...]:
        """Axes of a tensor with so many, the batch's among them, as numbers from 0; sorted."""
        value = self.get(key, default)
        found = set()
        for axis in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
                raise self.wrong(key, f"axes of a tensor with {rank}")
            found.add(axis % rank)
        return tuple(sorted(found))

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of several words."""
        value = self.get(key, default)
        if value not in choices:
            raise self.wrong(key, "one of " + ", ".join(choices))
        return str(value)

    def refuse(self, **unsupported: Any) -> None:
        """Refuse settings unless they are absent, null or what is given here."""
        for key, allowed in unsupported.items():
            if self.get(key) is not None and self.get(key) != allowed:
                raise self.wrong(key, f"{allowed!r}, as nothing else is supported here")

    def _pair(self, key: str, value: Any) -> tuple[Any, Any]:
        pair = tuple_of(value, 2)
        if len(pair) != 2:
            raise self.wrong(key, "pairs of whole numbers")
        return pair[0], pair[1]

    def _count(self, key: str, value: Any, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value < _LARGEST:
            raise self.wrong(key, f"a whole number >= {low} and < {_LARGEST}")
        return value
