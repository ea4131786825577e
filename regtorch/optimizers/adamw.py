"""AdamW."""

from __future__ import annotations

from torch import optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.adam import KerasEpsilon
from regtorch.registry import register
from regtorch.settings import check


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
