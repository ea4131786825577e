"""Generators of Python's and NumPy's that a model has of its own."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

Generator = random.Random | np.random.Generator | np.random.RandomState

#: containers within containers, and objects within objects, that are looked into
_DEPTH = 4


def own_generators(model: nn.Module) -> tuple[Generator, ...]:
    """The generators among the attributes of a model's modules and classes, also within containers and plain objects.

    Example:
        >>> model = nn.ReLU()
        >>> model.sources = {"noise": random.Random(0)}
        >>> len(own_generators(model))
        1
    """
    found: dict[int, Generator] = {}
    for module in model.modules():
        scopes: list[Any] = [vars(cls) for cls in type(module).__mro__ if not cls.__module__.startswith("torch.")]
        for scope in (vars(module), *scopes):
            for value in list(scope.values()):
                found |= {id(g): g for g in _inside(value, _DEPTH)}
    return tuple(found.values())


def _inside(value: Any, depth: int) -> Iterator[Generator]:
    if isinstance(value, Generator):
        yield value
    elif depth and not isinstance(value, (nn.Module, type)) and not callable(value):
        parts: Any = ()
        if isinstance(value, dict):
            parts = value.values()
        elif isinstance(value, (list, tuple)):
            parts = value
        elif type(value).__module__.split(".")[0] not in ("torch", "numpy", "builtins"):
            parts = getattr(value, "__dict__", {}).values()
        for part in list(parts):
            yield from _inside(part, depth - 1)


def state_of(generator: Generator) -> bytes:
    """A generator's state, to be compared and to be given back."""
    if isinstance(generator, random.Random):
        return pickle.dumps(generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return pickle.dumps(generator.get_state())
    return pickle.dumps(generator.bit_generator.state)


def give_back(generator: Generator, state: bytes) -> None:
    """Put a generator into the state that it was in."""
    before = pickle.loads(state)
    if isinstance(generator, random.Random):
        generator.setstate(before)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(before)
    else:
        generator.bit_generator.state = before


def seed(generator: Generator, number: int) -> None:
    """Seed a generator."""
    if isinstance(generator, random.Random):
        generator.seed(number)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(number % 2**32)
    else:
        kind: Any = type(generator.bit_generator)
        generator.bit_generator.state = kind(number).state
