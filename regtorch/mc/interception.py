"""Intercepting what torch's and users' own code draws, and the numbers that leave torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from regtorch.dropout.alpha_dropout import AlphaDropout
from regtorch.dropout.base import Noise, ProbabilityDropout
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.feature_alpha_dropout import FeatureAlphaDropout
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.mc.dispatch_mode import QuickDispatchMode
from regtorch.mc.memory import note_writes
from regtorch.mc.random_op import draws_randomly

#: torch's functions that drop -> the dropout that does the same
_FUNCTIONS: dict[Callable[..., Any], type[ProbabilityDropout]] = {
    F.dropout: Dropout,
    F.dropout1d: SpatialDropout1d,
    F.dropout2d: SpatialDropout2d,
    F.dropout3d: SpatialDropout3d,
    F.alpha_dropout: AlphaDropout,
    F.feature_alpha_dropout: FeatureAlphaDropout,
}
#: by these a tensor's numbers come out of torch's sight
_LEAVING_TORCH = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__}


class DrawHandler(Protocol):
    """What takes over the draws: a `Sampler`."""

    neutral: bool

    def drop(self, name: str, noise: Noise, x: Tensor, in_place: bool = False) -> Tensor:
        """What a dropout makes of its input."""

    def draw(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a random operation gives."""

    def note_read(self) -> None:
        """A tensor's numbers become a Python value."""

    def note_shaped(self) -> None:
        """A tensor's numbers become a shape."""

    @property
    def draws_itself(self) -> bool:
        """Whether a dropout's noise is being computed, from a generator of its own."""


@contextmanager
def intercepted(handler: DrawHandler) -> Iterator[None]:
    """Let `handler` make every draw: of functional dropouts, and within torch's and others' own code."""
    with _Functions(handler), _Draws(handler):
        yield


class _Functions(TorchFunctionMode):
    """Takes over torch's functional dropouts, and notes where numbers leave torch."""

    def __init__(self, sampler: DrawHandler) -> None:
        super().__init__()
        self.sampler = sampler

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FUNCTIONS:
            return functional_dropout(self.sampler, func, *args, **kwargs)
        if func in _LEAVING_TORCH:
            self.sampler.note_read()
        if self.sampler.neutral and func is F.scaled_dot_product_attention:
            args, kwargs = _without_dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _without_dropout(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, *rest: Any, **kwargs: Any
) -> Any:
    return (query, key, value, attn_mask, 0.0, *rest), kwargs


def is_functional_dropout(function: Any) -> bool:
    """Whether this is one of torch's functional dropouts."""
    return function in _FUNCTIONS


def functional_dropout(
    sampler: DrawHandler, function: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """``F.dropout`` and its variants, computed by the sampler; arguments as torch has them."""
    if not training or p == 0:
        return input
    return sampler.drop(function.__name__, _FUNCTIONS[function](drop_prob=p), input, inplace)


class _Draws(QuickDispatchMode):
    """Takes over every random operation that reaches the dispatcher, and notes those that tell Python a tensor's numbers."""

    def __init__(self, sampler: DrawHandler) -> None:
        super().__init__()
        self.sampler = sampler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        note_writes(func, args, kwargs)
        if draws_randomly(func, args, kwargs):
            if self.sampler.draws_itself and any(isinstance(v, torch.Generator) for v in (*args, *kwargs.values())):
                return func(*args, **kwargs)  # the sampler's own generator
            return self.sampler.draw(func, args, kwargs)
        if torch.Tag.data_dependent_output in func.tags:
            self.sampler.note_read()
        elif is_shaped_by_numbers(func, args):
            self.sampler.note_shaped()
        return func(*args, **kwargs)


def is_shaped_by_numbers(function: Any, args: Sequence[Any]) -> bool:
    """Whether the shape of an operation's result depends on the numbers in a tensor."""
    if function is torch.ops.aten.index.Tensor:  # by whole numbers it has the shape of those
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.dynamic_output_shape in function.tags or function is torch.ops.aten._pack_padded_sequence.default
