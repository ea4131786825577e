"""Adam, AdamW, Adamax and Nadam."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


class KerasEpsilon(KerasOptimizer):
    """A mixin for torch's Adam: epsilon is added to the root before the bias correction, as in Keras and the paper.

    Torch adds ``eps`` to the corrected root ``sqrt(v / (1 - beta2^t))``, so eps is set to
    ``epsilon / sqrt(1 - beta2^t)`` before each step. t is that of the group's first parameter with a gradient.
    """

    def _init_group(self, group: dict[str, Any], *tensors: list[Tensor]) -> Any:
        # torch's step calls this to collect the tensors, and then reads group["eps"]
        has_complex = super()._init_group(group, *tensors)
        state_steps = tensors[-1]
        epsilon = group.setdefault("epsilon", group["eps"])
        if state_steps:
            group["eps"] = epsilon / math.sqrt(1.0 - group["betas"][1] ** (state_steps[0].item() + 1.0))
        return has_complex


@register("optimizer", "adam")
class Adam(KerasEpsilon, optim.Adam):
    """Steps of about lr, regardless of the gradient's size: ``w <- w - lr_t * m / (sqrt(v) + epsilon)``.

    m and v are running means of g and g^2, ``lr_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t)``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        beta1: fraction of m kept at each step, 0 to below 1.
        beta2: fraction of v kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Kingma and Ba, 2015.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Adam([w], lr=0.1).step()
        >>> w.data
        tensor([0.9000])
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
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay)


@register("optimizer", "adamw")
class AdamW(KerasEpsilon, optim.AdamW):
    """Adam after ``w <- (1 - lr * weight_decay) * w``: decay separate from the gradient's statistics, which no penalty can replace.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        beta1: fraction of m kept at each step, 0 to below 1.
        beta2: fraction of v kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; decoupled; it includes biases, unless they are in a separate group.

    Raises:
        SettingError: a value outside its range.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (0 * w).sum().backward()
        >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
        >>> w.data
        tensor([0.9500])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.004,
    ) -> None:
        check(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay)
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay)


@register("optimizer", "adamax")
class Adamax(KerasOptimizer, optim.Adamax):
    """Adam with the largest gradient so far: ``w <- w - lr / (1 - beta1^t) * m / (u + epsilon)``.

    m is the running mean of g, ``u <- max(beta2 * u, |g|)``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        beta1: fraction of m kept at each step, 0 to below 1.
        beta2: fraction of u kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Kingma and Ba, 2015.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> Adamax([w], lr=0.1).step()
        >>> w.data
        tensor([0.9000])
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
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay)


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
