"""The convolutional network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from regtorch.models.batch_norm import batch_norm as make_batch_norm
from regtorch.models.mlp import GLOROT, RELU, Order, dense_layer, input_layer, sequence
from regtorch.models.parts import Part, drops_weights, fresh, fresh_activation, initialize, is_none, place_dropout
from regtorch.models.sizes import check_image
from regtorch.registry import register
from regtorch.registry.configurable import Configurable, plain
from regtorch.settings import COUNTS, COUNTS_OR_EMPTY, LAYER_ORDER, ODD_COUNT, SWITCH, Range, check, one_of

POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


@register("model", "cnn")
class CNN(Configurable, nn.Module):
    """Convolutions, then dense layers: images (batch, channels, height, width) -> (batch, classes) logits.

    The parts are named ``input``, ``hidden.0``, ... (convolutions first, then dense layers) and ``head``; a
    convolution's are ``conv``, ``batch_norm``, ``activation``, ``pool`` and ``dropout``.

    Args:
        shape: (channels, height, width) of one image.
        classes: number of logits.
        channels: output channels of each convolution (stride 1, same padding).
        kernel_size: side of the kernels, odd.
        pooling: max, average or none; halves height and width after each convolution except the last.
        head: units of each dense layer between the convolutions and the logits; may be empty.
        global_pooling: average each map to one number before the dense layers, instead of flattening.
        activation: an activation or its node.
        initializer: fills the kernels; biases start at zero.
        head_initializer: fills the kernel of the logits; None: `initializer` does.
        dropout: a dropout at the places set by `dropout_at`.
        dropout_at: conv, dense, both, or auto: dropouts of feature maps after the convolutions, others after the dense
            layers (before the logits if there are none).
        input_dropout: a dropout on the image.
        batch_norm: none, before (the activation), after (the activation) or after_dropout; for convolutions and dense
            layers.
        dense_batch_norm: whether the dense layers have batch normalization too.
        input_batch_norm: whether the image's channels are normalized too.
        momentum: momentum of batch normalization, as in Keras: the fraction kept at each step.
        epsilon: epsilon of batch normalization.
        bias: whether hidden layers have a bias; null: unless batch normalization follows directly.

    Raises:
        SettingError: a value outside its range, or images that are too small for the pooling.

    Example:
        >>> CNN((3, 32, 32), 10, channels=[8, 16])(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "channels": COUNTS,
        "kernel_size": ODD_COUNT,
        "pooling": one_of("max", "average", "none"),
        "head": COUNTS_OR_EMPTY,
        "global_pooling": SWITCH,
        "dropout_at": one_of("auto", "conv", "dense", "both"),
        "dense_batch_norm": SWITCH,
        **LAYER_ORDER,
    }

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        channels: Sequence[int] = (32, 64, 128),
        kernel_size: int = 3,
        pooling: Literal["max", "average", "none"] = "max",
        head: Sequence[int] = (64,),
        global_pooling: bool = False,
        activation: Part = RELU,
        initializer: Any = GLOROT,
        head_initializer: Any = None,
        dropout: Part = None,
        dropout_at: Literal["auto", "conv", "dense", "both"] = "auto",
        input_dropout: Part = None,
        batch_norm: Order = "none",
        dense_batch_norm: bool = False,
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
            channels=channels,
            kernel_size=kernel_size,
            pooling=pooling,
            head=head,
            global_pooling=global_pooling,
            dropout_at=dropout_at,
            batch_norm=batch_norm,
            dense_batch_norm=dense_batch_norm,
            input_batch_norm=input_batch_norm,
            momentum=momentum,
            epsilon=epsilon,
            bias=bias,
        )
        height, width = check_image(shape, channels, pooling)
        on_maps, on_units = _spread(dropout, dropout_at)

        def conv_layer(index: int) -> nn.Sequential:
            inputs, outputs = [shape[0], *channels][index : index + 2]
            conv: nn.Module = nn.Conv2d(
                inputs, outputs, kernel_size, padding="same", bias=batch_norm != "before" if bias is None else bias
            )
            if on_maps is not None and drops_weights(on_maps):
                conv = fresh("dropout", on_maps).around(conv)  # type: ignore[union-attr, operator]
            norm = None if batch_norm == "none" else make_batch_norm(outputs, 2, momentum, epsilon)
            last = index == len(channels) - 1
            parts: dict[str, nn.Module | None] = {"conv": conv}
            if batch_norm == "before":
                parts["batch_norm"] = norm
            parts["activation"] = fresh_activation(activation, outputs)
            if batch_norm == "after":
                parts["batch_norm"] = norm
            parts["pool"] = None if last or pooling == "none" else POOLS[pooling](2)
            parts["dropout"] = place_dropout(on_maps, 2)
            if batch_norm == "after_dropout":
                parts["batch_norm"] = norm
            return sequence(parts)

        convolutions = [conv_layer(index) for index in range(len(channels))]
        flatten = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if global_pooling else nn.Flatten()
        sizes = [channels[-1] if global_pooling else channels[-1] * height * width, *head]
        order: Order = batch_norm if dense_batch_norm else "none"
        dense = [
            dense_layer(inputs, units, activation, on_units, order, momentum, epsilon, bias)
            for inputs, units in pairwise(sizes)
        ]
        self.input = input_layer(shape[0], input_dropout, input_batch_norm, batch_norm, momentum, epsilon, 2)
        self.hidden = nn.ModuleList([*convolutions, *dense])
        self.flatten = flatten
        self.flat_dropout = (None if head else place_dropout(on_units, 0)) or nn.Identity()
        self.head = nn.Linear(sizes[-1], classes)
        self.convolutions = len(channels)
        initialize(self, initializer)
        if head_initializer is not None:
            initialize(self.head, head_initializer)
        self.to(memory_format=torch.channels_last)

    def settings(self) -> dict[str, Any]:
        """Name -> value of every constructor argument; some names are also those of submodules."""
        return {name: plain(value) for name, value in self.given.items()}

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Call `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        x = self.input(x.contiguous(memory_format=torch.channels_last))
        for index, layer in enumerate(self.hidden):
            x = layer(self.flatten(x) if index == self.convolutions else x)
        x = x if len(self.hidden) > self.convolutions else self.flatten(x)
        logits: Tensor = self.head(self.flat_dropout(x))
        return logits


def _spread(dropout: Part, at: str) -> tuple[Part, Part]:
    """The dropouts after the convolutions and after the dense layers."""
    if is_none(dropout):
        return None, None
    if at == "auto":
        at = "conv" if getattr(fresh("dropout", dropout), "whole_maps", False) else "dense"
    return dropout if at in ("conv", "both") else None, dropout if at in ("dense", "both") else None
