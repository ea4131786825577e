"""Cases for ``parametrize`` of which some are slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def slow_unless(by_default: Callable[[T], object], cases: Iterable[T]) -> list[Any]:
    """Mark the cases as slow that are not of the default tests."""
    return [case if by_default(case) else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def every(step: int, cases: Iterable[Sequence[Any]]) -> list[Any]:
    """Mark all cases of a product as slow except every such one; each case is a sequence of arguments.

    If the step has no common divisor with the numbers of choices, every value of a choice remains, and nearly every pair.
    """
    return [pytest.param(*case, marks=pytest.mark.slow if index % step else ()) for index, case in enumerate(cases)]
