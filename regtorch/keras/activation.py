"""Activations: separate layers, and the names or layers that other layers have as their ``activation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.activations import elementwise
from regtorch.errors import as_one_line
from regtorch.keras.layout import Arrangement, same_arrangement
from regtorch.keras.messages import shown
from regtorch.keras.plan import Value
from regtorch.keras.settings import Settings, is_from_keras
from regtorch.keras.translation import Translation, translates
from regtorch.printable import printable


class Formula(nn.Module):
    """An activation function that has no module in torch."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        return self.formula(x)

    def extra_repr(self) -> str:
        """The formula's name."""
        return self.formula.__name__


def square_plus(x: Tensor) -> Tensor:
    """``(x + sqrt(x^2 + 4)) / 2``."""
    return 0.5 * (x + (x.square() + 4).sqrt())


def sparse_plus(x: Tensor) -> Tensor:
    """0 below -1, ``(x + 1)^2 / 4`` between -1 and 1, x above."""
    return torch.where(x <= -1, 0.0, torch.where(x < 1, 0.25 * (x + 1).square(), x))


def sparse_sigmoid(x: Tensor) -> Tensor:
    """``(x + 1) / 2``, clipped to [0, 1]."""
    return (0.5 * (x + 1)).clamp(0, 1)


class Sparsemax(nn.Module):
    """Keras' sparsemax. It follows Martins and Astudillo (2016), but its threshold adds up all partial sums of the support."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        ordered = x.sort(self.dim, descending=True).values
        sums = ordered.cumsum(self.dim)
        shape = [1] * x.ndim
        shape[self.dim] = -1
        counts = torch.arange(1, x.shape[self.dim] + 1, device=x.device, dtype=x.dtype).view(shape)
        support = ordered - (sums - 1) / counts > 0
        kept = torch.where(support, sums, 0.0).sum(self.dim, keepdim=True)
        return (x - (kept - 1) / support.sum(self.dim, keepdim=True)).clamp_min(0)


class Softmax(nn.Module):
    """Softmax over several dimensions jointly."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`; it sums to 1 over the dimensions."""
        return (x - x.logsumexp(self.dims, keepdim=True)).exp()

    def extra_repr(self) -> str:
        """The dimensions."""
        return f"dims={self.dims}"


class ClippedReLU(nn.Module):
    """ReLU with Keras' `max_value`, `negative_slope` and `threshold`.

    Above `threshold`, the result is x, clipped to [0, `max_value`]. Below it, the result is ``negative_slope * (x - threshold)``.

    The inequality is strict, as in Keras: an input equal to the threshold gives 0.
    """

    def __init__(self, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        y = torch.where(x > self.threshold, x, 0.0) if self.threshold else x
        if self.max_value is not None:
            y = y.clamp(0.0, self.max_value)
        elif not self.threshold:
            y = y.relu()
        return y - self.negative_slope * (self.threshold - x).relu() if self.negative_slope else y

    def extra_repr(self) -> str:
        """The settings."""
        return f"max_value={self.max_value}, negative_slope={self.negative_slope}, threshold={self.threshold}"


class PReLU(nn.Module):
    """``x if x > 0 else slope * x`` with a learned slope per entry of an example; slopes may be shared along some axes."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        return x.clamp_min(0) + self.weight * x.clamp_max(0)

    def extra_repr(self) -> str:
        """The slopes' shape."""
        return f"shape={tuple(self.weight.shape)}"


#: elementwise activations
_ELEMENTWISE: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": elementwise.ReLU,
    "relu6": elementwise.ReLU6,
    "leaky_relu": lambda: elementwise.LeakyReLU(0.2),
    "elu": elementwise.ELU,
    "selu": elementwise.SELU,
    "celu": elementwise.CELU,
    "gelu": elementwise.GELU,
    "silu": elementwise.SiLU,
    "swish": elementwise.SiLU,
    "mish": elementwise.Mish,
    "tanh": elementwise.Tanh,
    "sigmoid": elementwise.Sigmoid,
    "hard_sigmoid": elementwise.HardSigmoid,
    "hard_silu": elementwise.HardSiLU,
    "hard_swish": elementwise.HardSiLU,
    "softplus": elementwise.Softplus,
    "softsign": elementwise.Softsign,
    "log_sigmoid": nn.LogSigmoid,
    "hard_tanh": nn.Hardtanh,
    "soft_shrink": nn.Softshrink,
    "hard_shrink": nn.Hardshrink,
    "tanh_shrink": nn.Tanhshrink,
    "exponential": lambda: Formula(torch.exp),
    "squareplus": lambda: Formula(square_plus),
    "sparse_plus": lambda: Formula(sparse_plus),
    "sparse_sigmoid": lambda: Formula(sparse_sigmoid),
}

#: activations along one axis; Keras uses the last one
_ALONG_AN_AXIS: dict[str, Callable[[int], nn.Module]] = {
    "softmax": nn.Softmax,
    "log_softmax": nn.LogSoftmax,
    "sparsemax": Sparsemax,
    "glu": nn.GLU,
}

ACTIVATIONS = (*_ELEMENTWISE, *_ALONG_AN_AXIS)

#: activations that are removed at the end of a model, so that its output is logits
_FINAL = ("softmax", "sigmoid")

#: activation layers without weights; another layer may have one of these as its `activation`
_LAYERS = ("ReLU", "LeakyReLU", "ELU", "Softmax", "Activation")


def _function(value: Any) -> str | None:
    """The name of a custom function, without the package it was registered under; None for other values."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        return str(value.get("config")).rpartition(">")[2]
    return None


def unsupported_activation(value: Any, custom: Mapping[str, Any]) -> str | None:
    """The reason why an ``activation`` is not supported; None if it is."""
    if value is None or (isinstance(value, str) and value in ACTIVATIONS) or _function(value) in custom:
        return None
    if isinstance(value, dict) and is_from_keras(value.get("module")):
        if value.get("class_name") == "Activation":
            return unsupported_activation((value.get("config") or {}).get("activation"), custom)
        if value.get("class_name") in _LAYERS:
            return None
        if value.get("class_name") == "PReLU":
            return "its activation is a PReLU, which has weights; make it a separate layer"
    name = _function(value) or (value.get("class_name") if isinstance(value, dict) else value)
    name = shown(name, 60)
    return f"its activation {name} is not one of Keras' own; give custom={{{name}: ...}}"


def activated(t: Translation, x: Value, suffix: str = "_activation") -> Value:
    """Add the layer's own `activation` after the layer."""
    return _any(t, x, t.settings.get("activation"), suffix)


def _any(t: Translation, x: Value, value: Any, suffix: str) -> Value:
    """Add the activation from a setting: a name, a layer, a custom function, or None."""
    name = _function(value)
    if name is not None:
        try:
            with torch.device("cpu"):
                module: nn.Module = t.plan.custom[name]()
        except Exception as error:
            raise t.wrong(f"custom[{shown(name)}] failed with {printable(as_one_line(error), 300)}") from error
        if not isinstance(module, nn.Module):
            raise t.wrong(f"custom[{name!r}] returned {type(module).__name__}: it must be a torch module")
        return t.step(module, x, x.layout, suffix=suffix)
    if isinstance(value, dict):
        settings = Settings(f"the activation of {t.layer}", value.get("config"))
        return _layer(t, x, str(value.get("class_name")), settings, suffix)
    return _named(t, x, value or "linear", suffix)


def _named(t: Translation, x: Value, name: str, suffix: str, axis: int = -1) -> Value:
    if name in _FINAL and t.number in t.plan.split and axis % x.layout.rank == x.layout.rank - 1:
        t.plan.split[t.number] = name
        if not any(t.number in call.inputs for call in t.plan.graph.calls):
            return x
        t.plan.logits[t.number] = x  # other layers read the output of the activation
    if name == "linear":
        return x
    if name in _ELEMENTWISE:
        return t.step(_ELEMENTWISE[name](), x, x.layout, suffix=suffix)
    if name != "glu":
        return t.step(_ALONG_AN_AXIS[name](x.layout.dim(axis)), x, x.layout, suffix=suffix)
    x = t.plan.in_keras_order(x, t.layer.name)
    halved = (*x.layout.shape[:-1], t.size(x, -1) // 2)
    return t.step(nn.GLU(x.layout.rank), x, x.layout.resized(*halved), suffix=suffix)


def _layer(t: Translation, x: Value, class_name: str, settings: Settings, suffix: str) -> Value:
    """Add an activation layer, or a layer that another layer has as its activation."""
    if class_name == "Activation":
        return _any(t, x, settings.get("activation"), suffix)
    if class_name == "Softmax":
        axes = settings.axes("axis", x.layout.rank + 1)
        if 0 in axes:
            raise settings.wrong("axis", "axes other than the batch axis")
        if len(axes) != 1:
            return t.step(Softmax([x.layout.dim(axis - 1) for axis in axes]), x, x.layout, suffix=suffix)
        return _named(t, x, "softmax", suffix, axes[0] - 1)
    module: nn.Module
    if class_name == "LeakyReLU":
        slope = settings.number("negative_slope", settings.get("alpha", 0.3), low=0)
        module = elementwise.LeakyReLU(slope)
    elif class_name == "ELU":
        alpha = settings.number("alpha", 1.0)
        module = elementwise.ELU(alpha) if alpha > 0 else nn.ELU(alpha)
    else:
        module = _relu(settings)
    return t.step(module, x, x.layout, suffix=suffix)


def _relu(settings: Settings) -> nn.Module:
    highest = None if settings.get("max_value") is None else settings.number("max_value", low=0)
    slope, threshold = settings.number("negative_slope", 0.0), settings.number("threshold", 0.0)
    if highest == 6 and not threshold and not slope:
        return elementwise.ReLU6()
    if threshold or highest is not None or slope < 0:
        return ClippedReLU(highest, slope, threshold)
    return elementwise.LeakyReLU(slope) if slope else elementwise.ReLU()


@translates("ThresholdedReLU")
def thresholded_relu(t: Translation) -> Value:
    """From Keras 2: x above `theta`, else 0."""
    x = t.one()
    return t.step(ClippedReLU(None, 0.0, t.settings.number("theta", 1.0, low=0)), x, x.layout)


@translates(*_LAYERS)
def activation(t: Translation) -> Value:
    """A separate activation layer."""
    x = t.one()
    y = _layer(t, x, t.layer.class_name, t.settings, "")
    # a removed final activation needs no module, unless a penalty has to read its output
    if y is not x or (t.number in t.plan.split and t.settings.get("activity_regularizer") is None):
        return y
    return t.step(nn.Identity(), x, x.layout)


@translates("PReLU")
def prelu(t: Translation) -> Value:
    """PReLU: torch's module if there is one slope per channel, else our own."""
    x = t.one()
    rank = x.layout.rank
    shared = [] if t.settings.get("shared_axes") is None else t.settings.axes("shared_axes", rank + 1)
    shape = tuple(1 if axis + 1 in shared else t.size(x, axis) for axis in range(rank))
    t.expect(alpha=shape)
    channels = x.layout.order[0]
    if x.layout.features is not None and shape != (1,):
        arrangement = same_arrangement(shape, x.layout.features)
    else:
        arrangement = Arrangement(shape, x.layout.order)
    by_channel = all(shape[axis] == 1 for axis in range(rank) if axis != channels)
    if by_channel:
        arrangement = Arrangement(shape, arrangement.order, (shape[channels],), arrangement.gathered)
        module: nn.Module = nn.PReLU(shape[channels])
    else:
        module = PReLU(arrangement.torch_shape)
    return t.step(module, x, x.layout, alpha=("weight", arrangement))
