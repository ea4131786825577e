"""The proximal step of the L1 penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.full_precision import widened
from regtorch.functional.sharded import shard_by_shard


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
