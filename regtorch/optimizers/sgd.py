"""Stochastic gradient descent."""

from __future__ import annotations

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


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
