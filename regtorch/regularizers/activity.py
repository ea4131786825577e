"""A regularizer on a layer's output instead of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regtorch.errors import SettingError
from regtorch.registry import create, register
from regtorch.regularizers.base import Regularizer
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import in_full_precision
from regtorch.tensor_ops.summed import scaled

__all__ = ["Activity", "activity"]


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


@register("regularizer", "activity")
class Activity(Regularizer):
    """Applies any regularizer to a layer's output, per example: ``regularizer(output) / batch size``.

    `WeightPenalty` binds it to layers instead of parameters, and adds the penalty of their outputs in the current step.
    If the output is a tuple, a list, a mapping or a dataclass, its first tensor is used.

    Args:
        regularizer: a `Regularizer`, or its configuration node.

    Raises:
        SettingError: the argument is neither a regularizer nor a node.
        UnknownNameError: the node names no registered regularizer.

    Example:
        >>> import torch, regtorch
        >>> Activity(regtorch.L1(0.1))(torch.ones(4, 3))
        tensor(0.3000)
    """

    def __init__(self, regularizer: Regularizer | Mapping[str, Any]) -> None:
        super().__init__()
        rule = create("regularizer", **regularizer) if isinstance(regularizer, Mapping) else regularizer
        if not isinstance(rule, Regularizer):
            raise SettingError(f"regularizer={rule} is not allowed: it must be a Regularizer or its node")
        self.regularizer: Regularizer = rule

    def extra_repr(self) -> str:
        """The setting `where`; the regularizer is shown as a submodule."""
        return "" if self.where is None else f"where={self.where}"

    if TYPE_CHECKING:

        def __call__(self, w: Tensor, examples: int | None = None) -> Tensor:
            """Call `forward`."""

    def forward(self, w: Tensor, examples: int | None = None) -> Tensor:
        """The penalty of one layer's output (batch, ...), of `examples` examples (default: the size of dimension 0)."""
        return activity(w, self.regularizer, examples)
