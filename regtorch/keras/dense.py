"""Dense layers."""

from __future__ import annotations

from torch import nn

from regtorch.keras.activation import activated
from regtorch.keras.layout import Arrangement, keras_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


@translates("Dense")
def dense(t: Translation) -> Value:
    """A linear map of the last axis. The kernel (in, out) becomes a weight (out, in)."""
    units = t.settings.count("units")
    x = t.one()
    x = x if x.layout.rank == 1 else t.plan.in_keras_order(x, t.layer.name)
    inputs, bias = t.size(x, -1), t.settings.flag("use_bias", True)
    t.expect(kernel=(inputs, units), **({"bias": (units,)} if bias else {}))
    # after a Flatten, Keras orders the features channels last and torch channels first, so the kernel's rows are permuted
    gathered = () if x.layout.features is None else ((0, x.layout.features),)
    y = t.step(
        nn.Linear(inputs, units, bias),
        x,
        keras_layout((*x.layout.shape[:-1], units)),
        kernel=("weight", Arrangement((inputs, units), (1, 0), gathered=gathered)),
        bias="bias",
    )
    return activated(t, y)
