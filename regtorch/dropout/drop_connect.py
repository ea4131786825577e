"""Dropout of weights."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.func import functional_call

from regtorch.dropout.base import ProbabilityDropout
from regtorch.errors import SettingError
from regtorch.functional.drop_connect import drop_connect
from regtorch.registry import register


@register("dropout", "drop_connect")
class DropConnect(ProbabilityDropout):
    """Zeroes the weights of a layer, one mask a forward pass; its bias stays. See `regtorch.functional.drop_connect`.

    Args:
        layer: the Linear, convolution or transposed convolution to wrap; without one, see `around`.
        drop_prob: probability that a weight is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: a probability by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, a layer of another kind, or a forward pass without a layer.

    Example:
        >>> DropConnect(nn.Linear(3, 2), drop_prob=0.5)
        DropConnect(
          drop_prob=0.5, keep_prob=0.5
          (layer): Linear(in_features=3, out_features=2, bias=True)
        )
    """

    not_settings: ClassVar[frozenset[str]] = frozenset({"layer"})

    def __init__(
        self,
        layer: nn.Module | None = None,
        *args: object,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        **unknown: object,
    ) -> None:
        named = layer is None or isinstance(layer, nn.Module)
        super().__init__(*(args if named else (layer, *args)), drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        if layer is not None and not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            raise SettingError(f"DropConnect wraps a Linear or convolution layer, got {type(layer).__name__}")
        self.layer = layer

    def around(self, layer: nn.Module) -> DropConnect:
        """A DropConnect with the same probability that wraps `layer`."""
        return type(self)(layer, drop_prob=self.drop_prob).train(self.training)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer gives for `x` with the weights that are left; in evaluation with all of them."""
        if self.layer is None:
            raise SettingError("DropConnect wraps no layer: write DropConnect(layer, drop_prob=...) or .around(layer)")
        if not self.training or self.drop_prob == 0:
            return self.layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        weight = drop_connect(self.layer.weight, drop_prob=self.drop_prob, generator=self.generator)
        return functional_call(self.layer, {"weight": weight}, (x, *args), kwargs)  # type: ignore[no-any-return]
