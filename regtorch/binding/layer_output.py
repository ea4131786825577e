"""The tensor in a layer's output, and its number of examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a layer's output, as Keras takes it; None if there is none.

    Args:
        output: a tensor, a ``PackedSequence`` (its data), or a tuple, list, mapping or dataclass, nested or not.

    Example:
        >>> import torch
        >>> first_tensor((None, {"hidden": torch.ones(2)}))
        tensor([1., 1.])
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, PackedSequence):
        return output.data
    for part in _parts(output):
        if (found := first_tensor(part)) is not None:
            return found
    return None


def _parts(output: Any) -> Iterable[Any]:
    if isinstance(output, Mapping):
        return output.values()
    if isinstance(output, (tuple, list)):
        return output
    if is_dataclass(output) and not isinstance(output, type):
        return (getattr(output, field.name) for field in fields(output))
    return ()


def examples(layer: nn.Module, output: Any, tensor: Tensor) -> int:
    """Number of examples in a layer's output, at least 1; activity penalties are divided by it.

    It is the size of the first dimension; for a ``PackedSequence`` the number of sequences; for a layer with
    ``batch_first=False``, the default of `nn.LSTM`, the size of the second dimension, or 1 without a batch dimension.

    Example:
        >>> import torch
        >>> layer, x = nn.LSTM(3, 2), torch.ones(5, 4, 3)
        >>> output = layer(x)
        >>> examples(layer, output, first_tensor(output))
        4
    """
    holder = output[0] if isinstance(output, tuple) and output and isinstance(output[0], PackedSequence) else output
    if isinstance(holder, PackedSequence):
        return max(int(holder.batch_sizes[0]), 1)
    if isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)):
        if tensor.ndim < 3:
            return 1
        return max(tensor.shape[0 if layer.batch_first else 1], 1)
    return max(tensor.shape[0], 1) if tensor.ndim else 1
