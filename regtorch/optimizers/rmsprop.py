"""RMSprop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, optim
from torch.optim.optimizer import ParamsT

from regtorch.optimizers.base import KerasOptimizer
from regtorch.registry import register
from regtorch.settings import check


@register("optimizer", "rmsprop")
class RMSprop(KerasOptimizer, optim.RMSprop):
    """Gradients divided by their recent size: ``v <- rho * v + (1 - rho) * g^2;  w <- w - lr * g / sqrt(v + epsilon)``.

    With momentum: ``b <- momentum * b + lr * g / sqrt(v + epsilon);  w <- w - b``. Torch's own divides by
    ``sqrt(v) + epsilon``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0.
        rho: fraction of v kept at each step, 0 to below 1.
        momentum: fraction of b kept at each step, 0 to below 1.
        epsilon: prevents division by zero, > 0.
        weight_decay: >= 0; coupled: adds ``weight_decay * w`` to the gradient, so it equals ``l2=weight_decay/2``.

    Raises:
        SettingError: a value outside its range.

    Source: Hinton, Srivastava and Swersky, lecture notes, 2012.

    Example:
        >>> w = torch.ones(1, requires_grad=True)
        >>> (2 * w).sum().backward()
        >>> RMSprop([w], lr=0.1, rho=0.75).step()
        >>> w.data
        tensor([0.8000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        check(lr=lr, rho=rho, momentum=momentum, epsilon=epsilon, weight_decay=weight_decay)
        super().__init__(params, lr=lr, alpha=rho, momentum=momentum, eps=epsilon, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; if a closure is given, it recomputes the loss first, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights: list[Tensor] = []
            grads: list[Tensor] = []
            squares: list[Tensor] = []
            velocities: list[Tensor] = []
            steps: list[Tensor] = []
            self._init_group(group, weights, grads, squares, velocities, [], steps)
            if not weights:
                continue
            # a complex number is updated as two real numbers
            weights, grads, squares, velocities = map(_as_real, (weights, grads, squares, velocities))
            rho = group["alpha"]
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, weights, alpha=group["weight_decay"]))
            torch._foreach_add_(steps, 1)
            torch._foreach_mul_(squares, rho)
            torch._foreach_addcmul_(squares, grads, grads, value=1 - rho)
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            if group["momentum"]:
                torch._foreach_mul_(velocities, group["momentum"])
                torch._foreach_addcdiv_(velocities, grads, roots, value=group["lr"])
                torch._foreach_sub_(weights, velocities)
            else:
                torch._foreach_addcdiv_(weights, grads, roots, value=-group["lr"])
        return loss


def _as_real(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
