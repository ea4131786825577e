"""Compute a penalty, and its gradient, in float32 or wider, whatever autocast or the weights' type say."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")
Formula = Callable[Concatenate[Tensor, P], Tensor]


def widened(w: Tensor) -> Tensor:
    """`w` in float32 if its type is narrower, else `w` itself; the gradient comes back in w's own type."""
    return w.float() if w.dtype in (torch.float16, torch.bfloat16) else w


def in_full_precision(formula: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """``formula(w)`` with autocast off and `w` in float32 or wider; its gradient is computed in the same way."""
    if not torch.is_autocast_enabled(w.device.type):
        return formula(widened(w))
    with torch.autocast(w.device.type, enabled=False):
        if torch.compiler.is_compiling():
            return formula(widened(w))
        result: Tensor = _AutocastOff.apply(lambda v: formula(widened(v)), w)
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
    """Keeps autocast off in the backward pass too, which may itself be called inside an autocast region."""

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
