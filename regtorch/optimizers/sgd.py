"""Stochastic gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import INSIDE_ZERO_ONE, Range, check


@register("optimizer", "sgd")
class SGD(KerasOptimizer, optim.SGD):
    """Gradient descent: ``w <- w - lr * g``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Robbins and Monro, 1951.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> SGD([w], lr=0.1).step()
        >>> w.data
        tensor([0.8000])
    """

    def __init__(self, params: ParamsT, lr: float = 1e-2, weight_decay: float = 0.0) -> None:
        check(lr=lr, weight_decay=weight_decay)
        super().__init__(params, lr=lr, weight_decay=weight_decay)


@register("optimizer", "momentum")
class Momentum(KerasOptimizer, optim.SGD):
    """Heavy ball: ``v <- momentum * v + g;  w <- w - lr * v``.

    Keras multiplies by lr inside v, which is equivalent as long as lr is constant.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        momentum: fraction of the velocity kept at each step, 0 to below 1.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Polyak, 1964.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Momentum([w], lr=0.1).step()
        >>> w.data
        tensor([0.8000])
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)


@register("optimizer", "nesterov")
class Nesterov(KerasOptimizer, optim.SGD):
    """Looks ahead: ``v <- momentum * v + g;  w <- w - lr * (g + momentum * v)``.

    Keras multiplies by lr inside v, which is equivalent as long as lr is constant.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        momentum: fraction of the velocity kept at each step, above 0 and below 1.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Nesterov, 1983; Sutskever et al., 2013.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Nesterov([w], lr=0.1).step()
        >>> w.data
        tensor([0.6200])
    """

    ranges: ClassVar[Mapping[str, Range]] = {"momentum": INSIDE_ZERO_ONE}

    def __init__(self, params: ParamsT, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        check(ranges=self.ranges, lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=True)
