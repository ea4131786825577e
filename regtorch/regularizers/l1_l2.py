"""L1 and L2, together and alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import real_dtype, widened
from regtorch.tensor_ops.sharded import is_sharded, local_shard, spread, summed_over_shards
from regtorch.tensor_ops.summed import scaled, summed
from regtorch.tensor_ops.transformed import needs_plain_operations, transformed

__all__ = ["L1", "L1L2", "L2", "l1", "l1_l2", "l2"]


def l1_l2(*weights: Tensor, l1: float, l2: float) -> Tensor:
    r"""Sum of absolute values and sum of squares: ``l1 * sum|w| + l2 * sum w^2``, over all the tensors together.

    The squares have no factor 1/2, as in Keras. Torch's coupled ``weight_decay=d`` (SGD, Adam, RMSprop) adds ``d * w`` to
    the gradient, so it equals ``l2=d/2``; AdamW's decoupled decay is different.
    The subgradient of ``|w|`` at 0 is 0. Value and gradient are computed with autocast off, in float32 or wider. For
    complex weights ``|w|`` is the modulus, and ``w^2`` stands for ``|w|^2``.

    Args:
        *weights: tensors of any shape, at least one, on any devices; all sharded ones together cost one reduction of a
            number.
        l1: strength of the absolute values.
        l2: strength of the squares.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Zou and Hastie, "Regularization and variable selection via the elastic net", 2005.

    Example:
        >>> l1_l2(torch.tensor([1.0, -2.0, 0.0]), l1=0.1, l2=0.01)
        tensor(0.3500)
    """
    if any(map(is_sharded, weights)):
        return _of_shards(weights, l1, l2)
    wide = [widened(w) for w in weights]
    if needs_plain_operations():
        return _of_plain_operations(wide, l1, l2)
    try:
        total: Tensor = _L1L2.apply(float(l1), float(l2), *wide)
    except RuntimeError:
        devices = dict.fromkeys(w.device for w in wide)
        if len(devices) == 1:
            raise
        return summed([l1_l2(*(w for w in wide if w.device == device), l1=l1, l2=l2) for device in devices])
    return total


def _of_plain_operations(weights: Sequence[Tensor], l1: float, l2: float) -> Tensor:
    """The same sum, in torch's own operations."""
    sums = [scaled(w.abs().sum(), l1) for w in weights] if l1 else []
    sums += [scaled((w * w.conj()).real.sum() if w.is_complex() else w.square().sum(), l2) for w in weights if l2]
    return summed(sums or [scaled(w.abs().sum(), 0.0) for w in weights])


def _of_shards(weights: Sequence[Tensor], l1: float, l2: float) -> Tensor:
    """The sum over this process' shards, then over all processes."""
    by_mesh: dict[Any, list[Tensor]] = {}
    for w in weights:
        by_mesh.setdefault((w.device_mesh, spread(w)) if is_sharded(w) else None, []).append(w)
    parts = [l1_l2(*map(local_shard, group), l1=l1, l2=l2) for group in by_mesh.values()]
    return torch.stack(summed_over_shards(parts, [group[0] for group in by_mesh.values()])).sum()


class _L1L2(torch.autograd.Function):
    """Needs two passes over the weights forward and three backward; with autograd the same formula needs nine."""

    @staticmethod
    def forward(l1: float, l2: float, *weights: Tensor) -> Tensor:
        pieces = [piece for w in weights for piece in _pieces(w)]
        total = weights[0].new_zeros((), dtype=real_dtype(weights[0]))
        if l1:
            total = total.add(torch.stack([piece.abs().sum() for piece in pieces]).sum(), alpha=l1)
        if l2:
            squares = [
                torch.dot(piece, piece) if piece.dtype in _DOT and piece.ndim == 1 else _square(piece)
                for piece in pieces
            ]
            total = total.add(torch.stack(squares).sum(), alpha=l2)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.l1, ctx.l2, *weights = inputs
        ctx.save_for_backward(*weights)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        if upstream.is_cpu and not torch.is_grad_enabled() and not transformed():
            # plain numbers save two passes, but force a GPU to synchronize and have no second derivative
            scale = upstream.item()
            of_sign, of_weight = ctx.l1 * scale, 2 * ctx.l2 * scale
            return None, None, *(_gradient(w, of_sign, of_weight) for w in ctx.saved_tensors)
        signs = [torch.sgn(w) if ctx.l1 else torch.zeros_like(w) for w in ctx.saved_tensors]
        pairs = zip(signs, ctx.saved_tensors, strict=True)
        return None, None, *((ctx.l1 * s + 2 * ctx.l2 * w) * upstream for s, w in pairs)


_DOT = frozenset({torch.float32, torch.float64})

_PIECE = 1 << 16  # longer float32 dot products lose digits: the error was 9e-5 for 2e7 entries


def _pieces(w: Tensor) -> Sequence[Tensor]:
    """A weight on the CPU as short vectors; any other (on a GPU, sharded, compiled) as it is."""
    plain = w.is_cpu and type(w) in (Tensor, torch.nn.Parameter) and not transformed()
    return w.reshape(-1).split(_PIECE) if plain else [w]


def _square(piece: Tensor) -> Tensor:
    """The sum of ``|w|^2`` over a piece."""
    return (torch.view_as_real(piece.resolve_conj()) if piece.is_complex() else piece).square().sum()


def _gradient(w: Tensor, of_sign: float, of_weight: float) -> Tensor:
    """``of_sign * sign(w) + of_weight * w``, in place where possible."""
    if not of_sign:
        return w * of_weight
    gradient = torch.sgn(w).mul_(of_sign)
    return gradient.add_(w, alpha=of_weight) if of_weight else gradient


@register("regularizer", "l1_l2")
class L1L2(Regularizer):
    """Elastic net: ``l1 * sum|w| + l2 * sum w^2``. See `regtorch.functional.l1_l2`.

    Args:
        l1: strength of the absolute values, >= 0.
        l2: strength of the squares, >= 0; torch's coupled ``weight_decay=d`` equals ``l2=d/2``.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L1L2(l1=0.1, l2=0.01)(torch.tensor([1.0, -2.0]))
        tensor(0.3500)
    """

    def __init__(self, l1: float = 0.01, l2: float = 0.01) -> None:
        super().__init__()
        check(l1=l1, l2=l2)
        self.l1 = float(l1)
        self.l2 = float(l2)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l1_l2(w, l1=self.l1, l2=self.l2)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l1_l2(*weights, l1=self.l1, l2=self.l2)


def l1(*weights: Tensor, l1: float) -> Tensor:
    """Sum of absolute values: ``l1 * sum|w|``.

    Drives weights towards zero with a gradient that does not shrink with them; for exact zeros use the
    `SoftThreshold` constraint. The subgradient at 0 is 0.

    Args:
        *weights: tensors of any shape.
        l1: strength.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", 1996.

    Example:
        >>> import torch
        >>> l1(torch.tensor([1.0, -2.0, 0.0]), l1=0.1)
        tensor(0.3000)
    """
    return l1_l2(*weights, l1=l1, l2=0.0)


def l2(*weights: Tensor, l2: float) -> Tensor:
    """Sum of squares: ``l2 * sum w^2``, without a factor 1/2, as in Keras.

    Torch's coupled ``weight_decay=d`` equals ``l2=d/2``.

    Args:
        *weights: tensors of any shape.
        l2: strength.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.

    Example:
        >>> import torch
        >>> l2(torch.tensor([1.0, -2.0, 0.0]), l2=0.1)
        tensor(0.5000)
    """
    return l1_l2(*weights, l1=0.0, l2=l2)


@register("regularizer", "l1")
class L1(Regularizer):
    """Lasso: ``l1 * sum|w|``. See `regtorch.functional.l1`.

    Args:
        l1: strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L1(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.3000)
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__()
        check(l1=l1)
        self.l1 = float(l1)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l1(w, l1=self.l1)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l1(*weights, l1=self.l1)


@register("regularizer", "l2")
class L2(Regularizer):
    """Ridge: ``l2 * sum w^2``. See `regtorch.functional.l2`.

    Args:
        l2: strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> L2(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.5000)
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__()
        check(l2=l2)
        self.l2 = float(l2)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return l2(w, l2=self.l2)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, in one autograd function."""
        return l2(*weights, l2=self.l2)
