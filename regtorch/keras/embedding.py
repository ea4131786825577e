"""Embeddings: a row of a table for each whole number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regtorch.keras.layout import as_it_is, keras_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


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
