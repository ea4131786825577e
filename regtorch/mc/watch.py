"""Watching a model run: which of its modules draws random numbers, and from which generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from regtorch.compat.torch_internals import QuickDispatchMode
from regtorch.mc.own_generators import own_generators, state_of
from regtorch.mc.random_op import argument_of, draws_randomly

#: what draws of Python's and NumPy's generators are called among the operations
_SOURCES = ("random.random", "numpy.random", "own generator")
PYTHON_RANDOM = frozenset(_SOURCES)

#: (module, attribute) -> the module whose own `train` sets it, and its values in training and in eval mode
ModeSettings = dict[tuple[nn.Module, str], tuple[nn.Module, Any, Any]]

_ABSENT = object()


@contextmanager
def training_mode_of(
    model: nn.Module, active: Iterable[nn.Module], settings: ModeSettings | None = None
) -> Iterator[None]:
    """Put these modules into training mode and all others into eval mode; every mode is as before afterwards.

    Args:
        model: any module.
        active: its modules that are in training mode.
        settings: what modules' own `train` sets besides.
    """
    modes = {module: module.training for module in model.modules()}
    chosen, settings = set(active), settings or {}
    before = {(module, name): vars(module).get(name, _ABSENT) for module, name in settings}
    try:
        for module in modes:  # not train() and eval(): a model may have overridden them
            module.training = module in chosen
        for (module, name), (owner, on, off) in settings.items():
            vars(module)[name] = on if owner in chosen else off
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for (module, name), value in before.items():
            if value is _ABSENT:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = value


class Watch(QuickDispatchMode):
    """Notes which module's forward draws random numbers, and what else it does."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.registered = frozenset(root.modules())
        self.called: set[nn.Module] = set()
        self.stack: list[nn.Module] = [root]
        self.draws: dict[nn.Module, set[str]] = {}
        #: drawing module -> the modules whose forward was running, outermost first
        self.callers: dict[nn.Module, list[nn.Module]] = {}
        self.normalizing: set[nn.Module] = set()
        #: generators that were drawn from -> their state before
        self.generators: dict[torch.Generator, torch.Tensor] = {}
        self._own = own_generators(root)
        self._python = self._python_state()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if draws_randomly(func, args, kwargs):
            self._note(func._schema.name.removeprefix("aten::"))
            for generator in (v for v in (*args, *kwargs.values()) if isinstance(v, torch.Generator)):
                self.generators.setdefault(generator, generator.get_state())
        elif argument_of(func, args, kwargs, "training") is True and "norm" in func._schema.name:
            self.normalizing.add(self.stack[-1])
        return func(*args, **kwargs)

    def run(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run one module with its name on the stack; one that is not registered counts as its caller's own code."""
        if module not in self.registered:
            return call(*args, **kwargs)
        self.called.add(module)
        self._look()
        self.stack.append(module)
        try:
            return call(*args, **kwargs)
        finally:
            self._look()
            self.stack.pop()

    def _note(self, what: str) -> None:
        self.draws.setdefault(self.stack[-1], set()).add(what)
        self.callers.setdefault(self.stack[-1], list(dict.fromkeys(self.stack[:-1])))

    def _look(self) -> None:
        now = self._python_state()
        for before, after, name in zip(self._python, now, _SOURCES, strict=True):
            if before != after:
                self._note(name)
        self._python = now

    def _python_state(self) -> tuple[object, ...]:
        state: Any = np.random.get_state()
        return random.getstate(), (state[1].tobytes(), *state[2:]), [state_of(generator) for generator in self._own]


@contextmanager
def saved_random_state(seed: int | None = 0) -> Iterator[None]:
    """Give torch's, Python's and NumPy's random state back afterwards; in between they are seeded."""
    states = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        try:
            if seed is not None:
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
