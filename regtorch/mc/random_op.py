"""Torch's random operations: telling them, and running one for another number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from regtorch.tensor_ops.full_precision import widened

#: random operations whose result is one kind of noise, entry by entry: any number of rows may be drawn of it
_ENTRY_BY_ENTRY = {
    *("native_dropout", "bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like"),
    *("randint", "randint_like", "random_", "uniform_", "normal_", "exponential_", "cauchy_", "geometric_"),
    "log_normal_",
}

_NORMAL = ("normal", "normal_", "randn", "randn_like")

#: how noise is made neutral
Neutral = Literal["mean", "kept", "drawn"]


def may_draw_randomly(function: Any) -> bool:
    """Whether an operation draws random numbers for some arguments."""
    return torch.Tag.nondeterministic_seeded in function.tags


def draws_randomly(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an operation draws random numbers: fused attention without dropout does not."""
    if not may_draw_randomly(function):
        return False
    if argument_of(function, args, kwargs, "dropout_p") == 0:
        return False
    return all(argument_of(function, args, kwargs, name) is not False for name in ("train", "training"))


def argument_of(function: Any, args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Any:
    """The value of an operation's argument, None if it has none of this name."""
    for index, argument in enumerate(function._schema.arguments):
        if argument.name == name:
            return args[index] if index < len(args) else kwargs.get(name, argument.default_value)
    return None


def seed_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that random operations on a device draw from, and no other.

    ``torch.manual_seed`` seeds those of all devices, which takes 600 times as long where torch was built for GPUs.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    elif device.type == "cuda":
        torch.cuda.init()
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    else:
        torch.manual_seed(seed)


class RandomOp:
    """One call of a random operation.

    Args:
        function: the operation, an overload of ``torch.ops.aten``.
        args: its arguments.
        kwargs: its keyword arguments; a generator among them is replaced by one of our own, and stays as it is.
    """

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((v for v in (*args, *kwargs.values()) if isinstance(v, torch.Generator)), None)
        self.generator = None if given is None else torch.Generator(given.device).manual_seed(0)
        self.function = function

        def own(value: Any) -> Any:
            return value if given is None or value is not given else self.generator

        self.args: tuple[Any, ...] = tuple(map(own, args))
        self.kwargs: dict[str, Any] = {name: own(value) for name, value in kwargs.items()}
        self.name = function._schema.name.removeprefix("aten::")
        self.in_place = self.name.endswith("_")
        self.is_entry_by_entry = self.name in _ENTRY_BY_ENTRY
        first = args[0] if args else None
        self.tensor: Tensor | None = first if isinstance(first, Tensor) else None
        size = argument_of(function, args, kwargs, "size")
        self.shape: tuple[int, ...] = tuple(self.tensor.shape if self.tensor is not None else size or ())

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        if self.tensor is not None:
            return self.tensor.device
        return torch.device(self.kwargs.get("device") or "cpu")

    def seed(self, seed: int) -> None:
        """Seed what it draws from next."""
        if self.generator is None:
            seed_generator(self.device, seed)
        else:
            self.generator.manual_seed(seed)

    def run(self) -> Any:
        """As it was called."""
        return self.function(*self.args, **self.kwargs)

    @property
    def can_be_neutral(self) -> bool:
        """Whether one of the two kinds of `neutral` certainly leaves activations as they are."""
        return self.name == "native_dropout" or (
            self.name == "bernoulli_" and not isinstance(self.args[1] if len(self.args) > 1 else 0.5, Tensor)
        )

    @property
    def is_normal(self) -> bool:
        """Whether it draws from a normal distribution."""
        return self.name in _NORMAL

    def neutral(self, kind: Neutral) -> Any:
        """A result that leaves activations as they are, where one is known; else what it draws.

        Args:
            kind: noise that multiplies leaves them as they are at its mean, or at 1 where what is kept is not divided by
                the probability to keep it, and noise that is added at its mean; "drawn" is neutral for dropout alone.
        """
        if self.name == "native_dropout":
            return self.args[0], torch.ones_like(self.args[0], dtype=torch.bool)
        if kind == "drawn":
            if self.generator is not None:
                self.generator.manual_seed(int(torch.randint(2**31, ())))
            return self.run()
        if self.name == "randperm":
            drawn: Tensor = self.run()
            return drawn.copy_(torch.arange(len(drawn)))
        value = self._mean() if kind == "mean" else self._kept()
        if value is None:
            return self.run()
        if self.name == "bernoulli_":
            return self.args[0].copy_(value) if isinstance(value, Tensor) else self.args[0].fill_(value)
        result: Tensor = self.run()
        return result.copy_(value) if isinstance(value, Tensor) else result.fill_(value)

    def _mean(self) -> Any:
        if self.name in ("bernoulli", "bernoulli_"):
            chance = self.args[1] if len(self.args) > 1 else self.kwargs.get("p")
            return chance if chance is not None else self.args[0].clone() if self.name == "bernoulli" else 0.5
        if self.name in _NORMAL:
            centre = argument_of(self.function, self.args, self.kwargs, "mean")
            return 0.0 if centre is None else centre
        low, high = self._range()
        return None if high is None else (low + high) / 2

    def _kept(self) -> Any:
        if self.name == "normal":
            return self._mean()
        if self.name in (*_NORMAL, "bernoulli", "bernoulli_"):
            return 1.0
        low, high = self._range()
        return None if high is None else low + (high - low) * (1 - 2**-8)  # below the end, in half precision too

    def _range(self) -> tuple[Any, Any]:
        """The ends of uniform numbers."""
        if self.name == "uniform_":
            ends = (argument_of(self.function, self.args, self.kwargs, name) for name in ("from", "to"))
            low, high = ends
            return low, high
        return (0.0, 1.0) if self.name in ("rand", "rand_like") else (None, None)

    def noise(self, shape: list[int]) -> Tensor:
        """The same kind of noise in another shape: uniform draws where a probability goes with each entry."""
        if self.name in ("bernoulli", "native_dropout") or any(isinstance(a, Tensor) for a in self.args[1:]):
            assert self.tensor is not None
            return torch.rand(shape, dtype=widened(self.tensor).dtype, device=self.tensor.device)
        if self.tensor is not None:
            return self.function(self.tensor.new_empty(shape), *self.args[1:], **self.kwargs)  # type: ignore[no-any-return]
        args = [shape if isinstance(a, (list, tuple)) and tuple(a) == self.shape else a for a in self.args]
        return self.function(*args, **self.kwargs)  # type: ignore[no-any-return]

    def given(self, noise: Tensor) -> Any:
        """The operation's result with this noise."""
        if self.name == "native_dropout":
            mask = noise >= self.args[1]
            return self.args[0] * mask * (1 / (1 - self.args[1]) if self.args[1] < 1 else 0.0), mask
        if self.name == "bernoulli" and self.tensor is not None:
            chance = self.tensor if len(self.args) < 2 else self.args[1]
            return (noise < chance).to(self.tensor.dtype)
        if self.in_place and self.tensor is not None:
            wanted = self.args[1] if len(self.args) > 1 and isinstance(self.args[1], Tensor) else None
            return self.tensor.copy_(noise if wanted is None else noise < wanted)
        return noise
