"""Dropout of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from regtorch.compat.torch_internals import recurrent_weight_names, recurrent_weights
from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import dropout
from regtorch.dropout.traceable import recorded
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.settings import Range, check, one_of
from regtorch.tensor_ops.arguments import check_tensor

__all__ = ["DropConnect", "drop_connect"]


def drop_connect(
    w: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each weight with probability `drop_prob`, scale the others: ``w * mask / (1 - drop_prob)``.

    Args:
        w: a weight of any shape.
        drop_prob: probability that a weight is dropped, from 0 to 1; at 1 the result is zero.
        training: False returns `w` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: accepted as by the other dropouts, but without effect, as a weight's mask holds for all rows anyway.

    Source: Wan et al., "Regularization of neural networks using DropConnect", 2013.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_connect(torch.ones(8, 8), drop_prob=0.5).unique()
        tensor([0., 2.])
    """
    check_tensor(w, "drop_connect")
    return dropout(w, drop_prob=drop_prob, training=training, generator=generator)


_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@register("dropout", "drop_connect")
class DropConnect(ProbabilityDropout):
    """Zeroes weights of a layer with one mask per forward pass; the bias is kept. See `regtorch.functional.drop_connect`.

    In a recurrent layer one mask holds for all time steps.

    Args:
        layer: the Linear, convolution, transposed convolution, or recurrent layer or cell (RNN, LSTM, GRU) to wrap;
            see `around` for wrapping later.
        drop_prob: probability that a weight is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.
        weights: ``"all"``; for recurrent layers also ``"recurrent"``: only the hidden-to-hidden weights.

    Raises:
        NamingError: a probability by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, a layer of another kind, or a forward pass without a layer.

    Source: Wan et al., "Regularization of neural networks using DropConnect", 2013; for recurrent weights Merity, Keskar
    and Socher, "Regularizing and optimizing LSTM language models", 2018.

    Example:
        >>> DropConnect(nn.Linear(3, 2), drop_prob=0.5)
        DropConnect(
          drop_prob=0.5, keep_prob=0.5, weights=all
          (layer): Linear(in_features=3, out_features=2, bias=True)
        )
    """

    ranges: ClassVar[Mapping[str, Range]] = {"weights": one_of("all", "recurrent")}

    not_settings: ClassVar[frozenset[str]] = frozenset({"layer"})
    acts_on_weights: ClassVar[bool] = True

    def __init__(
        self,
        layer: nn.Module | None = None,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        weights: Literal["all", "recurrent"] = "all",
        **unknown: NoReturn,
    ) -> None:
        named = layer is None or isinstance(layer, nn.Module)
        given: tuple[Any, ...] = args if named else (layer, *args)
        super().__init__(*given, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        check(ranges=self.ranges, weights=weights)
        if layer is not None and not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd, *_RECURRENT)):
            raise SettingError(
                f"DropConnect wraps a Linear, convolution or recurrent layer, got {type(layer).__name__}"
            )
        if layer is not None and weights == "recurrent" and not isinstance(layer, _RECURRENT):
            raise SettingError(
                f"weights=recurrent is not allowed: a {type(layer).__name__} has no recurrent weights; use weights=all"
            )
        self.weights = weights
        self.layer = layer

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """Call `forward`."""

    def around(self, layer: nn.Module) -> DropConnect:
        """A DropConnect with the same settings that wraps `layer`."""
        return type(self)(layer, drop_prob=self.drop_prob, weights=self.weights).train(self.training)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for `x` with the kept weights; in evaluation with all weights."""
        if isinstance(x, fx.Proxy):
            return recorded(self, x, *args, **kwargs)
        layer = self.layer
        if layer is None:
            raise SettingError("DropConnect wraps no layer: write DropConnect(layer, drop_prob=...) or .around(layer)")
        if not self.training or self.drop_prob == 0:
            return layer(x, *args, **kwargs)
        left = {
            name: drop_connect(getattr(layer, name), drop_prob=self.drop_prob, generator=self.generator)
            for name in self._names(layer)
        }
        if not isinstance(layer, nn.RNNBase):
            return functional_call(layer, left, (x, *args), kwargs)
        weights = [left[name] if name in left else getattr(layer, name) for name in recurrent_weight_names(layer)]
        with recurrent_weights(layer, weights):
            return layer(x, *args, **kwargs)

    def _names(self, layer: nn.Module) -> list[str]:
        """The names of the weights that may be dropped."""
        if not isinstance(layer, _RECURRENT):
            return ["weight"]
        names = recurrent_weight_names(layer) if isinstance(layer, nn.RNNBase) else ["weight_ih", "weight_hh"]
        return [name for name in names if name.startswith("weight_hh" if self.weights == "recurrent" else "weight")]
