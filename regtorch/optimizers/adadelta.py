"""Adadelta."""

from __future__ import annotations

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


@register("optimizer", "adadelta")
class Adadelta(KerasOptimizer, optim.Adadelta):
    """Steps of the size of recent ones: ``w <- w - lr * g * sqrt((u + epsilon) / (v + epsilon))``.

    v and u are running means of g^2 and of the squared quotient.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        rho: fraction of the means kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Zeiler, 2012.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Adadelta([w], lr=0.1).step()
        >>> w.data
        tensor([0.9999])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        check(lr=lr, rho=rho, epsilon=epsilon, weight_decay=weight_decay)
        super().__init__(params, lr=lr, rho=rho, eps=epsilon, weight_decay=weight_decay)
