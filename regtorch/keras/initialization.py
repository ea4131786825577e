"""Initialize the weights of a ported model with the initializers of the file."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.keras.plan import Weight
from regtorch.keras.rules import initializer_node, rule_of
from regtorch.registry import create


def initial_values(weight: Weight, generator: torch.Generator) -> Tensor:
    """Draw new values for a weight, in torch's arrangement.

    Keras computes the fans of an array (*sizes, in, out) from its last two axes for all layers. Therefore the values are
    drawn as (out, in, *sizes) and then permuted.

    Args:
        weight: the weight.
        generator: source of all randomness.

    Raises:
        SettingError: the layer's initializer has no counterpart here.
    """
    found = rule_of(weight, "initializer")
    node = initializer_node(found)
    if node is None:
        raise SettingError(
            f"layer {weight.layer}: the initializer of its {weight.name}, {found}, has no counterpart here"
        )
    shape = weight.arrangement.keras_shape
    values = create("initializer", **node)(torch.empty(shape[::-1][:2] + shape[:-2]), generator)
    rank = len(shape)
    in_keras = values if rank < 2 else values.permute(*range(2, rank), 1, 0)
    return weight.arrangement.to_torch(in_keras)
