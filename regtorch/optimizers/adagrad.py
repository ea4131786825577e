"""Adagrad."""

from __future__ import annotations

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


@register("optimizer", "adagrad")
class Adagrad(KerasOptimizer, optim.Adagrad):
    """Steps shrink with the squares summed so far: ``s <- s + g^2;  w <- w - lr * g / (sqrt(s) + epsilon)``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        initial_accumulator_value: initial value of s, >= 0.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Duchi, Hazan and Singer, 2011.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Adagrad([w], lr=0.1).step()
        >>> w.data
        tensor([0.9012])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        check(lr=lr, initial_accumulator_value=initial_accumulator_value, epsilon=epsilon, weight_decay=weight_decay)
        super().__init__(
            params, lr=lr, initial_accumulator_value=initial_accumulator_value, eps=epsilon, weight_decay=weight_decay
        )
