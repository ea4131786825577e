"""Embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regtorch.keras.layout import keras_layout, same_arrangement
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


class Embedding(nn.Embedding):
    """An embedding that accepts tokens of any numeric type."""

    def forward(self, input: Tensor) -> Tensor:
        """Map tokens (batch, ...) to vectors (batch, ..., features)."""
        return super().forward(input.long())


@translates("Embedding")
def embedding(t: Translation) -> Value:
    """A table (words, features), which torch and Keras store in the same way."""
    words, features = t.settings.count("input_dim"), t.settings.count("output_dim")
    x = t.plan.in_keras_order(t.one(), t.layer.name)
    t.expect(embeddings=(words, features))
    layout = keras_layout((*x.layout.shape, features))
    y = t.step(Embedding(words, features), x, layout, embeddings=("weight", same_arrangement((words, features))))
    masks = t.settings.flag("mask_zero", False)
    return Value(y.number, y.layout, mask=x.number if masks else None)


def is_padding(tokens: Tensor) -> Tensor:
    """Whether each token is padding, which is 0."""
    return torch.eq(tokens.long(), 0)
