"""Noise that no mode shows: of other threads, of generators that are no attribute, of the operating system."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.mc.allclose_scaled import same_values
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.model_state import unchanged
from regtorch.mc.module_calls import module_calls
from regtorch.mc.own_generators import own_generators
from regtorch.mc.sampler import Sampler
from regtorch.mc.structure import tensors_of
from regtorch.mc.watch import saved_random_state


class _Apart(Sampler):
    """Leaves torch's own generator alone, so that draws which it does not see differ from pass to pass."""

    def draw(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one random operation gives."""
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            return super().draw(function, args, kwargs)


class HiddenNoise:
    """Compares two passes of one sample, for which all else that is random has other seeds.

    Args:
        model: any module.
        batch: a few rows.
        active: the modules in training mode.
        modes: puts them into training mode.
        python_random: whether Python's and NumPy's generators, the model's own ones too, are seeded for the sample.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: BatchArgs,
        active: Iterable[nn.Module],
        modes: Callable[[], AbstractContextManager[None]],
        python_random: bool,
    ) -> None:
        self.model, self.batch, self.active, self.modes = model, batch, frozenset(active), modes
        self.python_random = python_random

    def found(self) -> nn.Module | None:
        """The module that draws unseen, None if none does."""
        try:
            if same_values(self._output(1), self._output(2)):
                return None
            return self._source()
        except Exception:  # the model has been run like this before, so that its errors are known
            return None

    def _output(self, seed: int) -> Any:
        sampler = _Apart(0, True)
        sampler.python_random, sampler.generators = self.python_random, own_generators(self.model)
        copy = self.batch.clone()
        with (
            unchanged(self.model),
            self.modes(),
            saved_random_state(seed),
            sampler.in_place_of(self.model, self.active),
        ):
            sampler.begin(range(1), self.batch.rows)
            with sampler.drawing():
                return self.model(*copy.args, **copy.kwargs)

    def _source(self) -> nn.Module:
        """The first module that gives something else for the same."""
        first, second = (self._calls(seed) for seed in (1, 2))
        for (module, caller, given, result), (other, _, given_then, result_then) in zip(first, second, strict=False):
            if module is not other or not same_values(given, given_then):
                return caller
            if not same_values(result, result_then):
                return module
        return self.model

    def _calls(self, seed: int) -> list[tuple[nn.Module, nn.Module, list[Tensor], list[Tensor]]]:
        """Each call of a module, in the order of their ends: its caller, what it took and what it gave."""
        calls, stack, registered = [], [self.model], set(self.model.modules())

        def run(module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            if module not in registered:
                return call(*args, **kwargs)
            given = [t.clone() for t in tensors_of((args, kwargs))]
            stack.append(module)
            try:
                result = call(*args, **kwargs)
            finally:
                stack.pop()
            calls.append((module, stack[-1], given, [t.clone() for t in tensors_of(result)]))
            return result

        with module_calls(run):
            self._output(seed)
        return calls
