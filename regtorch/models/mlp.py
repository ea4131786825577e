"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from regtorch.models.batch_norm import batch_norm as make_batch_norm
from regtorch.models.parts import Part, fresh_activation, initialize, place_dropout, wrap_weights
from regtorch.registry import register
from regtorch.registry.configurable import Configurable, plain
from regtorch.settings import COUNTS, LAYER_ORDER, Range, check

#: the position of batch normalization in a layer
Order = Literal["none", "before", "after", "after_dropout"]

RELU = {"name": "relu"}
GLOROT = {"name": "glorot_uniform"}


def dense_layer(
    inputs: int,
    units: int,
    activation: Part,
    dropout: Part,
    batch_norm: Order,
    momentum: float,
    epsilon: float,
    bias: bool | None,
) -> nn.Sequential:
    """One hidden layer: linear, activation, and optionally batch normalization and dropout, in order.

    `batch_norm` is ``before`` the activation, ``after`` it, or ``after_dropout``. With `bias` None there is no bias if
    batch normalization follows the linear map directly, as its shift does the same.
    """
    linear = nn.Linear(inputs, units, bias=batch_norm != "before" if bias is None else bias)
    norm = None if batch_norm == "none" else make_batch_norm(units, 0, momentum, epsilon)
    parts: dict[str, nn.Module | None] = {"linear": wrap_weights(linear, dropout)}
    if batch_norm == "before":
        parts["batch_norm"] = norm
    parts["activation"] = fresh_activation(activation, units)
    if batch_norm == "after":
        parts["batch_norm"] = norm
    parts["dropout"] = place_dropout(dropout, 0)
    if batch_norm == "after_dropout":
        parts["batch_norm"] = norm
    return sequence(parts)


def input_layer(
    units: int, dropout: Part, batch_norm: bool, order: Order, momentum: float, epsilon: float, spatial_dims: int
) -> nn.Sequential:
    """The modules before the first layer: batch normalization, dropout, both or none."""
    norm = make_batch_norm(units, spatial_dims, momentum, epsilon) if batch_norm else None
    drop = place_dropout(dropout, spatial_dims)
    if order == "after_dropout":
        return sequence({"dropout": drop, "batch_norm": norm})
    return sequence({"batch_norm": norm, "dropout": drop})


def sequence(parts: dict[str, nn.Module | None]) -> nn.Sequential:
    """A sequence of the parts that are not None, under their names."""
    result = nn.Sequential()
    for name, part in parts.items():
        if part is not None:
            result.add_module(name, part)
    return result


@register("model", "mlp")
class MLP(Configurable, nn.Module):
    """Linear layers with activations between them: (batch, *shape) -> (batch, classes) logits.

    The parts are named ``input``, ``hidden.0``, ``hidden.1``, ... and ``head``; a hidden layer's are ``linear``,
    ``batch_norm``, ``activation`` and ``dropout``.

    Args:
        shape: shape of one example, which is flattened.
        classes: number of logits.
        hidden: units of each hidden layer.
        activation: an activation or its node.
        initializer: fills the kernels; biases start at zero.
        head_initializer: fills the kernel of the head; None: `initializer` does.
        dropout: after each hidden layer's activation (a weight dropout wraps the linear map).
        input_dropout: a dropout on the input.
        batch_norm: none, before (the activation), after (the activation) or after_dropout.
        input_batch_norm: whether the input is normalized too.
        momentum: momentum of batch normalization, as in Keras: the fraction kept at each step.
        epsilon: epsilon of batch normalization.
        bias: whether hidden layers have a bias; null: unless batch normalization follows directly.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> import torch
        >>> MLP((1, 8, 8), 10, hidden=[32, 16])(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    ranges: ClassVar[Mapping[str, Range]] = {"hidden": COUNTS, **LAYER_ORDER}

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        hidden: Sequence[int] = (64,),
        activation: Part = RELU,
        initializer: Any = GLOROT,
        head_initializer: Any = None,
        dropout: Part = None,
        input_dropout: Part = None,
        batch_norm: Order = "none",
        input_batch_norm: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        bias: bool | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self.given = given
        check(
            "model.",
            ranges=self.ranges,
            shape=shape,
            classes=classes,
            hidden=hidden,
            batch_norm=batch_norm,
            input_batch_norm=input_batch_norm,
            momentum=momentum,
            epsilon=epsilon,
            bias=bias,
        )
        sizes = [prod(shape), *hidden]
        self.input = input_layer(sizes[0], input_dropout, input_batch_norm, batch_norm, momentum, epsilon, 0)
        self.hidden = nn.Sequential(
            *(
                dense_layer(inputs, units, activation, dropout, batch_norm, momentum, epsilon, bias)
                for inputs, units in pairwise(sizes)
            )
        )
        self.head = nn.Linear(sizes[-1], classes)
        initialize(self, initializer)
        if head_initializer is not None:
            initialize(self.head, head_initializer)

    def settings(self) -> dict[str, Any]:
        """Name -> value of every constructor argument; some names are also those of submodules."""
        return {name: plain(value) for name, value in self.given.items()}

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Call `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        logits: Tensor = self.head(self.hidden(self.input(x.flatten(1))))
        return logits
