"""Dense layers and embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regtorch.keras.activation import activated
from regtorch.keras.layout import Arrangement, as_it_is, keras_layout
from regtorch.keras.translation import Translation, Value, translates


@translates("Dense")
def dense(t: Translation) -> Value:
    """A linear map of the last axis: the kernel (in, out) becomes a weight (out, in)."""
    units = t.settings.count("units")
    x = t.one()
    x = x if x.layout.rank == 1 else t.plan.in_keras_order(x, t.layer.name)
    inputs, bias = t.size(x, -1), t.settings.flag("use_bias", True)
    t.expect(kernel=(inputs, units), **({"bias": (units,)} if bias else {}))
    # behind a Flatten, Keras counts the pixels of a channel apart and torch side by side: the kernel's rows move
    gathered = () if x.layout.features is None else ((0, x.layout.features),)
    y = t.step(
        nn.Linear(inputs, units, bias),
        x,
        keras_layout((*x.layout.shape[:-1], units)),
        kernel=("weight", Arrangement((inputs, units), (1, 0), gathered=gathered)),
        bias="bias",
    )
    return activated(t, y)


class Embedding(nn.Embedding):
    """A row of the table for each number, whatever type the numbers have."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, ...) whole numbers -> (batch, ..., features)."""
        return super().forward(input.long())


@translates("Embedding")
def embedding(t: Translation) -> Value:
    """A table (words, features), which lies in torch as in Keras."""
    words, features = t.settings.count("input_dim"), t.settings.count("output_dim")
    x = t.plan.in_keras_order(t.one(), t.layer.name)
    t.expect(embeddings=(words, features))
    layout = keras_layout((*x.layout.shape, features))
    y = t.step(Embedding(words, features), x, layout, embeddings=("weight", as_it_is((words, features))))
    masks = t.settings.flag("mask_zero", False)
    return Value(y.number, y.layout, mask=x.number if masks else None)


def is_padding(numbers: Tensor) -> Tensor:
    """Which of the whole numbers stand for nothing: the zeros."""
    return torch.eq(numbers.long(), 0)
