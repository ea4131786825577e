"""A penalty on a layer's output."""

from collections.abc import Callable

from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.full_precision import in_full_precision
from regtorch.functional.scaled import scaled


def activity(output: Tensor, penalty: Callable[[Tensor], Tensor], examples: int | None = None) -> Tensor:
    """Penalty of a layer's output per example: ``penalty(output) / batch size``.

    Args:
        output: (batch, ...) activations; a scalar counts as a batch of one.
        penalty: a function of one tensor that returns a scalar.
        examples: number of examples in the output, >= 1; by default the size of its first dimension.

    Returns:
        A 0-dim tensor; 0 for an empty batch.

    Source: Keras' ``activity_regularizer``.

    Example:
        >>> import torch
        >>> activity(torch.ones(4, 3), torch.sum)
        tensor(3.)
    """
    check_tensor(output)
    if examples is None:
        examples = max(output.shape[0], 1) if output.ndim else 1
    return scaled(in_full_precision(penalty, output), 1 / examples)
