"""The elastic-net penalty of any number of weight tensors, as one autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regtorch.functional.full_precision import widened


def l1_l2(*weights: Tensor, l1: float, l2: float) -> Tensor:
    r"""Sum of absolute values and sum of squares: ``l1 * sum|w| + l2 * sum w^2``, over all the tensors together.

    No half before the squares, as in Keras. Torch's ``weight_decay=d``, where it is coupled (SGD, Adam, RMSprop),
    adds ``d * w`` to the gradient, so it equals ``l2=d/2``; AdamW's decoupled decay is another thing.
    The subgradient of ``|w|`` at 0 is 0. Value and gradient are computed with autocast off, in float32 or wider.

    Args:
        *weights: tensors of any shape, at least one.
        l1: strength of the absolute values.
        l2: strength of the squares.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Zou and Hastie, "Regularization and variable selection via the elastic net", 2005.

    Example:
        >>> l1_l2(torch.tensor([1.0, -2.0, 0.0]), l1=0.1, l2=0.01)
        tensor(0.3500)
    """
    total: Tensor = _L1L2.apply(float(l1), float(l2), *map(widened, weights))[0]
    return total


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products; the BLAS dot product is the fastest and most accurate sum torch has on the CPU."""
    if type(a) in (Tensor, torch.nn.Parameter):
        return torch.dot(a.reshape(-1), b.reshape(-1))
    return (a * b).sum()  # a sharded tensor: dot has no sharding rule


class _L1L2(torch.autograd.Function):
    """Three passes over the weights forward, two back; left to autograd, the same formula takes nine."""

    generate_vmap_rule = True

    @staticmethod
    def forward(l1: float, l2: float, *weights: Tensor) -> tuple[Tensor, ...]:
        signs = [torch.sign(w) for w in weights] if l1 else []
        parts = [l1 * _inner(s, w) for s, w in zip(signs, weights, strict=False)]
        parts += [l2 * _inner(w, w) for w in weights] if l2 else []
        return (torch.stack(parts).sum() if parts else weights[0].new_zeros(()), *signs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.l1, ctx.l2, *weights = inputs
        _, *signs = output
        ctx.mark_non_differentiable(*signs)
        ctx.save_for_backward(*weights, *signs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> Any:
        count = len(ctx.needs_input_grad) - 2
        weights, signs = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        of_sign, of_weight = ctx.l1 * upstream, 2 * ctx.l2 * upstream
        if not signs:
            return None, None, *(w * of_weight for w in weights)
        if not ctx.l2:
            return None, None, *(s * of_sign for s in signs)
        return None, None, *(torch.addcmul(w * of_weight, s, of_sign) for w, s in zip(weights, signs, strict=True))
