"""A penalty on what a layer gives out."""

from collections.abc import Callable

from torch import Tensor

from regtorch.functional.full_precision import in_full_precision


def activity(output: Tensor, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """Penalty of a layer's output per example: ``penalty(output) / batch size``.

    Args:
        output: (batch, ...) activations.
        penalty: a function of one tensor that gives a scalar.

    Returns:
        A 0-dim tensor; 0 for an empty batch.

    Source: Keras' ``activity_regularizer``.

    Example:
        >>> import torch
        >>> activity(torch.ones(4, 3), torch.sum)
        tensor(3.)
    """
    return in_full_precision(penalty, output) / max(len(output), 1)
