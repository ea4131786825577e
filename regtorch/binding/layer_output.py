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


_TRANSFORMERS = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)
_SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, *_TRANSFORMERS)


def examples(layer: nn.Module, output: Any, tensor: Tensor, batch_first: bool | None = None) -> int:
    """Number of examples in a layer's output, at least 1; activity penalties are divided by it.

    It is the size of the first dimension; for a ``PackedSequence`` the number of sequences; for a layer with
    ``batch_first=False``, the default of `nn.LSTM`, the size of the second dimension, or 1 without a batch dimension.

    Args:
        layer: the layer.
        output: what it gives.
        tensor: the tensor in it.
        batch_first: whether the batch comes first, where the layer is inside one of torch's transformers.

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
    dimensions = tensor.ndim
    if dimensions < (_dimensions_of_a_batch(layer) if batch_first is None else 3):
        return 1
    if batch_first is None and dimensions > 2:
        batch_first = of_transformer(layer) if isinstance(layer, _TRANSFORMERS) else vars(layer).get("batch_first")
    return max(tensor.shape[1 if batch_first is False and dimensions > 2 else 0], 1)


def of_transformer(layer: nn.Module) -> bool | None:
    """Whether the batch comes first in one of torch's transformers, as its attention has it; None if it is none."""
    if not isinstance(layer, _TRANSFORMERS):
        return None
    found = (getattr(module, "batch_first", None) for module in layer.modules())
    return next((value for value in found if isinstance(value, bool)), None)


def inside_transformers(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """The modules inside torch's transformers that do not tell, and whether the batch comes first there."""
    found: dict[int, tuple[nn.Module, bool]] = {}
    for outer in model.modules():
        batch_first = of_transformer(outer)
        for inner in outer.modules() if batch_first is not None else ():
            if batch_first is not None and not isinstance(inner, _SEQUENCES):
                found[id(inner)] = (inner, batch_first)
    return list(found.values())


def _dimensions_of_a_batch(layer: nn.Module) -> int:
    """How many dimensions a layer's output has at least, if it is of a batch."""
    if isinstance(layer, (nn.Linear, nn.RNNCellBase)):
        return 2
    if isinstance(layer, nn.modules.conv._ConvNd):
        return len(layer.kernel_size) + 2
    return 3 if isinstance(layer, _SEQUENCES) else 1
