"""Activations: subclasses of torch's modules, so ``isinstance(x, nn.ReLU)`` holds, with settings and `to_config`.

Example:
    >>> import torch, regtorch
    >>> regtorch.create("activation", "leaky_relu", negative_slope=0.1)(torch.tensor([-1.0, 2.0]))
    tensor([-0.1000,  2.0000])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from regtorch.registry import register
from regtorch.registry.configurable import Configurable
from regtorch.settings import check


class _Activation(Configurable):
    """An activation without settings. It has no `inplace`, as activity penalties need unchanged outputs."""

    if TYPE_CHECKING:

        def __call__(self, input: Tensor) -> Tensor:
            """Call `forward`."""

    def __init__(self) -> None:
        super().__init__()


@register("activation", "identity")
class NoActivation(_Activation, nn.Identity):
    """The identity, Keras' ``linear``."""


@register("activation", "relu")
class ReLU(_Activation, nn.ReLU):
    """``max(x, 0)``."""


@register("activation", "relu6")
class ReLU6(_Activation, nn.ReLU6):
    """``min(max(x, 0), 6)``."""


@register("activation", "selu")
class SELU(_Activation, nn.SELU):
    """``1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1))``.

    With LeCun normal weights, signals keep mean 0 and variance 1.
    """


@register("activation", "silu")
class SiLU(_Activation, nn.SiLU):
    """``x * sigmoid(x)``, also called swish."""


@register("activation", "tanh")
class Tanh(_Activation, nn.Tanh):
    """``tanh(x)``."""


@register("activation", "sigmoid")
class Sigmoid(_Activation, nn.Sigmoid):
    """``1 / (1 + exp(-x))``."""


@register("activation", "softplus")
class Softplus(_Activation, nn.Softplus):
    """``log(1 + exp(x))``."""


@register("activation", "softsign")
class Softsign(_Activation, nn.Softsign):
    """``x / (1 + |x|)``."""


@register("activation", "hard_sigmoid")
class HardSigmoid(_Activation, nn.Hardsigmoid):
    """``min(max(x / 6 + 1/2, 0), 1)``."""


@register("activation", "hard_silu")
class HardSiLU(_Activation, nn.Hardswish):
    """``x * min(max(x / 6 + 1/2, 0), 1)``, also called hard swish."""


@register("activation", "mish")
class Mish(_Activation, nn.Mish):
    """``x * tanh(log(1 + exp(x)))``."""


@register("activation", "leaky_relu")
class LeakyReLU(Configurable, nn.LeakyReLU):
    """``x if x > 0 else negative_slope * x``.

    Args:
        negative_slope: >= 0. The default is that of Keras' ``LeakyReLU`` layer; Keras' ``activation="leaky_relu"``
            uses 0.2, and torch's default is 0.01.

    Raises:
        SettingError: a slope outside its range.
    """

    def __init__(self, negative_slope: float = 0.3) -> None:
        check(negative_slope=negative_slope)
        super().__init__(negative_slope)


@register("activation", "prelu")
class PReLU(Configurable, nn.PReLU):
    """``x if x > 0 else slope * x`` with learned slopes, which start at 0 as in Keras.

    Args:
        num_parameters: number of slopes: one for each unit or channel (dimension 1), or one for all; null means one for
            all. A model that builds the activation from its node passes each layer's number of units.

    Raises:
        SettingError: the number of slopes is not an integer >= 1.

    Source: He et al., "Delving deep into rectifiers", 2015 (starting at 0.25).
    """

    def __init__(self, num_parameters: int | None = None) -> None:
        num_parameters = 1 if num_parameters is None else num_parameters
        check(num_parameters=num_parameters)
        super().__init__(num_parameters, init=0.0)


@register("activation", "elu")
class ELU(Configurable, nn.ELU):
    """``x if x > 0 else alpha * (exp(x) - 1)``.

    Args:
        alpha: > 0.

    Raises:
        SettingError: an alpha that is not positive.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check(alpha=alpha)
        super().__init__(alpha)


@register("activation", "celu")
class CELU(Configurable, nn.CELU):
    """``x if x > 0 else alpha * (exp(x / alpha) - 1)``.

    Args:
        alpha: > 0.

    Raises:
        SettingError: an alpha that is not positive.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        check(alpha=alpha)
        super().__init__(alpha)


@register("activation", "gelu")
class GELU(Configurable, nn.GELU):
    """``x * P(z <= x)``, z standard normal.

    Args:
        approximate: ``"none"`` for the exact formula, as in Keras, or ``"tanh"`` for the approximation.

    Raises:
        SettingError: another way to approximate.
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        check(approximate=approximate)
        super().__init__(approximate)
