"""Proximal L1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regtorch.constraints.base import EntryConstraint
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.sharded import shard_by_shard

__all__ = ["SoftThreshold", "soft_threshold"]


@shard_by_shard
def soft_threshold(w: Tensor, threshold: float, *, out: Tensor | None = None) -> Tensor:
    """Minimize distance plus L1 norm: ``argmin_v  |v - w|^2 / 2 + threshold * sum|v|``.

    That is ``sign(w) * max(|w| - threshold, 0)``: exact zeros, which a penalty in the loss never yields. Not
    idempotent: it is one step of proximal gradient descent. A complex weight keeps its angle, its modulus shrinks.

    Args:
        w: a tensor of any shape.
        threshold: strength times the step size, >= 0.
        out: where to write the result; `w` itself works in place.

    Source: Daubechies, Defrise and De Mol, 2004; Beck and Teboulle, "FISTA", 2009.

    Example:
        >>> soft_threshold(torch.tensor([1.0, -0.5, 0.1]), threshold=0.25)
        tensor([ 0.7500, -0.2500,  0.0000])
    """
    check_tensor(w, "soft_threshold")
    wide = widened(w)
    if wide.is_complex():
        shrunk = (torch.sgn(wide) * (wide.abs() - threshold).clamp(min=0.0)).to(w.dtype)
    else:
        shrunk = torch.nn.functional.softshrink(wide, threshold).to(w.dtype)
    return shrunk if out is None else out.copy_(shrunk)


@register("constraint", "soft_threshold")
class SoftThreshold(EntryConstraint):
    """Proximal L1: shrinks weights by ``strength * step_size`` down to exactly zero. Not idempotent.

    When attached to an optimizer, the step size is the learning rate of the parameter's group, so the weights follow
    proximal gradient descent on ``loss + strength * sum|w|``. See `regtorch.functional.soft_threshold`.

    Args:
        strength: the L1 strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> SoftThreshold(0.25)(torch.tensor([1.0, -0.5, 0.1]))
        tensor([ 0.7500, -0.2500,  0.0000])
    """

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    if TYPE_CHECKING:

        def __call__(self, w: Tensor, step_size: float = 1.0) -> Tensor:
            """Call `forward`."""

    def forward(self, w: Tensor, step_size: float = 1.0) -> Tensor:
        """The tensor after a proximal step of size `step_size`."""
        return soft_threshold(w, self.strength * step_size)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Apply the proximal step in place."""
        soft_threshold(w, self.strength * step_size, out=w)
