"""Intercept the random draws of torch's and users' code, and reads of tensor values by Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from regtorch.compat.torch_internals import QuickDispatchMode, transforms_are_active
from regtorch.dropout.alpha_dropout import AlphaDropout
from regtorch.dropout.base import Noise, ProbabilityDropout
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.feature_alpha_dropout import FeatureAlphaDropout
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.mc.attention import attention, is_attention
from regtorch.mc.memory import note_writes, written_by
from regtorch.mc.random_op import draws_randomly, may_draw_randomly

#: torch's functional dropouts -> the equivalent class
_FUNCTIONS: dict[Callable[..., Any], type[ProbabilityDropout]] = {
    F.dropout: Dropout,
    F.dropout1d: SpatialDropout1d,
    F.dropout2d: SpatialDropout2d,
    F.dropout3d: SpatialDropout3d,
    F.alpha_dropout: AlphaDropout,
    F.feature_alpha_dropout: FeatureAlphaDropout,
}
#: functions that pass a tensor's values to code outside torch
_LEAVING_TORCH = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__}


class DrawHandler(Protocol):
    """The object that makes the draws: a `Sampler`."""

    neutral: bool

    def drop(self, name: str, noise: Noise, x: Tensor, in_place: bool = False) -> Tensor:
        """Return the output of a dropout."""

    def draw(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a random operation."""

    def note_read(self) -> None:
        """Record that Python reads a tensor's values."""

    def note_shaped(self) -> None:
        """Record that a shape depends on a tensor's values."""

    @property
    def draws_itself(self) -> bool:
        """Whether a dropout's noise is being computed, from a generator of its own."""


@contextmanager
def intercepted(handler: DrawHandler) -> Iterator[None]:
    """Let `handler` make every draw, of functional dropouts and of random operations in any code."""
    with _Functions(handler), _Draws(handler):
        yield


class _Functions(TorchFunctionMode):
    """Replaces torch's functional dropouts, and records when values leave torch."""

    def __init__(self, sampler: DrawHandler) -> None:
        super().__init__()
        self.sampler = sampler

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FUNCTIONS and not transforms_are_active():
            return functional_dropout(self.sampler, func, *args, **kwargs)
        if func in _LEAVING_TORCH:
            self.sampler.note_read()
        if is_attention(func) and (out := attention(self.sampler, *args, **kwargs)) is not None:
            return out
        return func(*args, **kwargs)


def is_functional_dropout(function: Any) -> bool:
    """Whether this is one of torch's functional dropouts."""
    return function in _FUNCTIONS


def functional_dropout(
    sampler: DrawHandler, function: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Compute ``F.dropout`` or a variant by the sampler. The arguments are those of torch."""
    if not training or p == 0:
        return input
    return sampler.drop(function.__name__, _dropout(function, float(p)), input, inplace)


@lru_cache(maxsize=256)
def _dropout(function: Callable[..., Any], drop_prob: float) -> ProbabilityDropout:
    return _FUNCTIONS[function](drop_prob=drop_prob)


class _Draws(QuickDispatchMode):
    """Replaces every random operation that reaches the dispatcher, and records operations that let Python read values."""

    def __init__(self, sampler: DrawHandler) -> None:
        super().__init__()
        self.sampler = sampler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _kind(func)
        if kind == "plain":
            return func(*args, **kwargs)
        note_writes(func, args, kwargs)
        if kind == "random" and draws_randomly(func, args, kwargs):
            if self.sampler.draws_itself and any(isinstance(v, torch.Generator) for v in (*args, *kwargs.values())):
                return func(*args, **kwargs)  # the sampler's own generator
            return self.sampler.draw(func, args, kwargs)
        if kind == "reading":
            self.sampler.note_read()
        elif is_shaped_by_numbers(func, args):
            self.sampler.note_shaped()
        return func(*args, **kwargs)


@cache
def _kind(function: Any) -> str:
    """Return how calls of an operation are handled; most are plain."""
    if may_draw_randomly(function):
        return "random"
    if torch.Tag.data_dependent_output in function.tags:
        return "reading"
    may_be_shaped = function is torch.ops.aten.index.Tensor or _is_always_shaped_by_numbers(function)
    if may_be_shaped:
        return "shaped"
    return "writing" if written_by(function) else "plain"


def is_shaped_by_numbers(function: Any, args: Sequence[Any]) -> bool:
    """Whether the shape of an operation's result depends on the values of a tensor."""
    if function is torch.ops.aten.index.Tensor:  # an index of integers determines the shape by its own shape
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return _is_always_shaped_by_numbers(function)


def _is_always_shaped_by_numbers(function: Any) -> bool:
    return torch.Tag.dynamic_output_shape in function.tags or function is torch.ops.aten._pack_padded_sequence.default
