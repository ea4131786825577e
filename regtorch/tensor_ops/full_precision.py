"""Compute a penalty and its gradient in float32 or wider, regardless of autocast and the type of the weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from regtorch.compat.torch_internals import transforms_are_active
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.transformed import needs_plain_operations

P = ParamSpec("P")
Formula = Callable[Concatenate[Tensor, P], Tensor]


_WIDE = frozenset({torch.float32, torch.float64, torch.complex64, torch.complex128})


def widened(w: Tensor) -> Tensor:
    """`w` in float32 (complex64) if its type is narrower or holds integers, else `w` itself.

    The gradient has the type of `w`.

    Raises:
        SettingError: `w` is not a tensor.

    Example:
        >>> widened(torch.ones(2, dtype=torch.float16)).dtype
        torch.float32
    """
    if getattr(w, "dtype", None) in _WIDE:
        return w
    check_tensor(w)
    return w.to(torch.complex64) if w.is_complex() else w.float()


def zero_like(w: Tensor) -> Tensor:
    """A penalty of zero: a real 0-dim zero on w's device, float32 or wider.

    Example:
        >>> zero_like(torch.ones(3, dtype=torch.float16))
        tensor(0.)
    """
    wide = widened(w)
    return wide.new_zeros((), dtype=real_dtype(wide))


def real_dtype(wide: Tensor) -> torch.dtype:
    """The dtype of the absolute values of a tensor that is float32 (complex64) or wider."""
    if wide.dtype == torch.complex64:
        return torch.float32
    return torch.float64 if wide.dtype == torch.complex128 else wide.dtype


_WITH_AUTOCAST: dict[str, bool] = {}  # torch.compile warns about functools.cache


def _has_autocast(device_type: str) -> bool:
    if device_type not in _WITH_AUTOCAST:
        _WITH_AUTOCAST[device_type] = torch.amp.is_autocast_available(device_type)
    return _WITH_AUTOCAST[device_type]


def autocast_is_on(device_type: str) -> bool:
    """Whether autocast is enabled for a type of device; False for types without autocast, such as ``meta``."""
    return _has_autocast(device_type) and torch.is_autocast_enabled(device_type)


def autocast_off(device_type: str) -> AbstractContextManager[Any]:
    """A context with autocast disabled for a type of device; no effect for types without autocast."""
    return torch.autocast(device_type, enabled=False) if _has_autocast(device_type) else nullcontext()


def in_full_precision(formula: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """``formula(w)`` with autocast off and `w` in float32 or wider; the gradient is computed in the same way."""
    check_tensor(w)
    if not autocast_is_on(w.device.type):
        return formula(widened(w))
    with torch.autocast(w.device.type, enabled=False):
        if torch.compiler.is_compiling():
            return formula(widened(w))
        if transforms_are_active():
            function: Any = _TransformedAutocastOff
        elif needs_plain_operations():
            return formula(widened(w))
        else:
            function = _AutocastOff
        result: Tensor = function.apply(lambda v: formula(widened(v)), w)
        return result


def full_precision(formula: Formula[P]) -> Formula[P]:
    """Let a function of one weight tensor run with autocast off and in float32 or wider.

    Example:
        >>> @full_precision
        ... def sum_of_squares(w):
        ...     return w.square().sum()
        >>> sum_of_squares(torch.full((1000,), 300.0, dtype=torch.float16))  # 9e7 does not fit float16
        tensor(90000000.)
    """

    @wraps(formula)
    def wide(w: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        return in_full_precision(lambda v: formula(v, *args, **kwargs), w)

    return wide


class _AutocastOff(torch.autograd.Function):
    """Disables autocast in the backward pass too, which may be called inside an autocast region."""

    @staticmethod
    def forward(ctx: Any, formula: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
        ctx.formula = formula
        ctx.save_for_backward(w)
        return formula(w)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor]:
        (w,) = ctx.saved_tensors
        second_order = torch.is_grad_enabled()
        with torch.autocast(w.device.type, enabled=False), torch.enable_grad():
            leaf = w if second_order else w.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.formula(leaf), leaf, upstream, create_graph=second_order)
        return None, gradient


class _TransformedAutocastOff(torch.autograd.Function):
    """The same inside a transform of ``torch.func``, which computes the derivatives itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(formula: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
        return formula(w)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.formula, w = inputs
        ctx.save_for_backward(w)
        ctx.save_for_forward(w)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor]:
        (w,) = ctx.saved_tensors
        with autocast_off(w.device.type):
            pull_back = torch.func.vjp(ctx.formula, w)[1]
            (gradient,) = pull_back(upstream)
        return None, gradient

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        with autocast_off(w.device.type):
            result: Tensor = torch.func.jvp(ctx.formula, (w,), (tangent,))[1]
        return result
