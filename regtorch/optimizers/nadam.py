"""Nadam."""

from __future__ import annotations

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


@register("optimizer", "nadam")
class Nadam(KerasOptimizer, optim.NAdam):
    """Adam with Nesterov momentum, which warms up: ``beta1 * (1 - 0.5 * 0.96^t)``.

    This is Keras' schedule; it corresponds to torch's ``momentum_decay`` of 1 instead of 0.004.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        beta1: fraction of m kept at each step, 0 to below 1.
        beta2: fraction of v kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Dozat, 2016.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Nadam([w], lr=0.1).step()
        >>> w.data
        tensor([0.8937])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        check(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay)
        super().__init__(
            params, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay, momentum_decay=1.0
        )
