"""The group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.sharded import is_sharded, spread, summed_over_shards
from regtorch.tensor_ops.summed import scaled
from regtorch.tensor_ops.unit_norms import norms_of_all

__all__ = ["GroupLasso", "group_lasso"]


@full_precision
def group_lasso(w: Tensor, /, strength: float) -> Tensor:
    """Sum of the Euclidean norms of the units' incoming weights: ``strength * sum over units u of ||w_u||``.

    Drives units, not single weights, to zero. The subgradient at a unit of zeros is 0.

    Args:
        w: a weight with output units in the first dimension: (out, in) or (out, in, *kernel). In a vector
            each entry is a unit; a scalar is one unit.
        strength: penalty of a unit of norm 1.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006; on units of
    networks: Wen et al., "Learning structured sparsity in deep neural networks", 2016.

    Example:
        >>> import torch
        >>> group_lasso(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), strength=0.1)
        tensor(0.5000)
    """
    if is_sharded(w):
        return group_lasso_total([w], strength)
    units = w.flatten(1) if w.ndim > 1 else w.reshape(-1, 1)
    norms: Tensor = torch.linalg.vector_norm(units, dim=1)
    return scaled(norms.sum(), strength)


def group_lasso_total(weights: Sequence[Tensor], strength: float) -> Tensor:
    """The sum of `group_lasso` over weights, some of them sharded.

    If each unit is on one process, as under FSDP, this takes one reduction of a number for all weights; if units are
    split, one more reduction with a number per unit.
    """
    kernels = [w if w.ndim > 1 else w.reshape(-1, 1) for w in weights]
    norms = norms_of_all(kernels, [tuple(range(1, w.ndim)) for w in kernels])
    by_mesh: dict[Any, list[int]] = {}
    for i, w in enumerate(kernels):
        by_mesh.setdefault((w.device_mesh, spread(w, [0])) if is_sharded(w) else None, []).append(i)
    parts = [torch.stack([norms[i].sum() for i in group]).sum() for group in by_mesh.values()]
    unit_kernels = [kernels[group[0]] for group in by_mesh.values()]
    return strength * torch.stack(summed_over_shards(parts, unit_kernels, [[0]] * len(parts))).sum()


@register("regularizer", "group_lasso")
class GroupLasso(Regularizer):
    """Norms of the units' incoming weights: ``strength * sum_u ||w_u||``. See `regtorch.functional.group_lasso`.

    Args:
        strength: penalty of a unit of norm 1, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> GroupLasso(0.1)(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor(0.5000)
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return group_lasso(w, strength=self.strength)

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, with one reduction for all."""
        return group_lasso_total(weights, self.strength)
