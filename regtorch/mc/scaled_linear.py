"""A linear layer of several samples whose dropout goes into its weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regtorch.tensor_ops.full_precision import widened


def scaled_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor | None, rows: int
) -> Tensor:
    """``(scale * x + shift) W' + b`` for each sample, computed as ``x (scale * W)' + (b + shift W')``.

    That scales the weights instead of the activations of all rows.

    Args:
        x: (rows, inputs) where the samples have their input in common, else (samples * rows, inputs).
        weight: (outputs, inputs).
        bias: (outputs,) or None.
        scale: (samples, 1, inputs).
        shift: like scale, or None for 0.
        rows: of one sample.

    Returns:
        (samples * rows, outputs).

    Example:
        >>> x, weight = torch.ones(1, 2), torch.tensor([[1.0, 2.0]])
        >>> scaled_linear(x, weight, None, torch.tensor([[[0.0, 2.0]], [[2.0, 0.0]]]), None, rows=1)
        tensor([[4.],
                [2.]])
    """
    weights = (widened(weight) * scale).to(weight.dtype)  # (samples, outputs, inputs)
    biases: Tensor | None
    if shift is not None:
        moved = (widened(weight) @ shift[:, 0, :, None])[..., 0]
        biases = moved if bias is None else moved + bias
    else:
        biases = None if bias is None else bias.expand(len(scale), -1)
    if len(scale) == 1:
        return F.linear(x, weights[0], None if biases is None else biases[0].to(x.dtype))
    parts = x.reshape(-1, rows, x.shape[1])
    if len(parts) == 1:  # one product for all samples
        out: Tensor = F.linear(x, weights.flatten(0, 1)).unflatten(1, (len(scale), -1)).transpose(0, 1)
    else:
        out = torch.bmm(parts, weights.transpose(1, 2))
    if biases is not None:
        out = out + biases[:, None].to(out.dtype)
    return out.reshape(-1, out.shape[-1])
