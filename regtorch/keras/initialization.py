"""Drawing a ported model's weights anew, each by the initializer that its layer has in the file."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.keras.plan import Weight
from regtorch.keras.rules import initializer_node, rule_of
from regtorch.registry import create


def drawn(weight: Weight, generator: torch.Generator) -> Tensor:
    """New values for a weight, as torch has it.

    Keras counts the fans of an array (*sizes, in, out) by its last two axes, whatever the layer is; so it is drawn as
    (out, in, *sizes) and turned.

    Args:
        weight: which one.
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
