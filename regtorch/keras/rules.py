"""Convert Keras' regularizers, constraints and initializers to those of regtorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from regtorch.constraints.base import Constraint
from regtorch.constraints.max_norm import MaxNorm
from regtorch.constraints.min_max_norm import MinMaxNorm
from regtorch.constraints.non_neg import NonNeg
from regtorch.constraints.unit_norm import UnitNorm
from regtorch.errors import KerasFileError, as_one_line
from regtorch.keras.layout import Arrangement
from regtorch.keras.messages import shown
from regtorch.keras.plan import Weight
from regtorch.keras.settings import Settings, is_from_keras
from regtorch.printable import printable
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.l1_l2 import L1, L1L2, L2
from regtorch.regularizers.orthogonal import Orthogonal

Custom = Mapping[str, Callable[..., Any]]

_REGULARIZERS = ("L1", "L2", "L1L2", "OrthogonalRegularizer")
_CONSTRAINTS = ("MaxNorm", "MinMaxNorm", "UnitNorm", "NonNeg")
_SHORT = {"l1": "L1", "l2": "L2", "l1_l2": "L1L2"}


def unsupported_rule(key: str, node: Any, custom: Custom) -> str | None:
    """The reason why a regularizer or constraint is not supported; None if it is."""
    if node is None or _name(node) in custom:
        return None
    known = _REGULARIZERS if key.endswith("_regularizer") else _CONSTRAINTS
    own = not isinstance(node, dict) or is_from_keras(node.get("module"))
    if own and _name(node) in known:
        return None
    name = shown(_name(node), 60)
    return f"its {printable(key, 60)} {name} is not one of Keras' own; give custom={{{name}: ...}}"


def rule_of(weight: Weight, kind: str) -> Any:
    """A layer's regularizer, constraint or initializer for one of its weights; None if it has none."""
    settings = weight.layer.settings
    return settings.get(f"{weight.name}_{kind}", settings.get(f"{weight.name.removesuffix('_kernel')}_{kind}"))


def _name(node: Any) -> str:
    """The name of a rule's class or function, without the package it was registered under."""
    if isinstance(node, dict):
        name, config = node.get("class_name"), node.get("config")
        return str(config if name == "function" and isinstance(config, str) else name).rpartition(">")[2]
    return _SHORT.get(str(node), str(node))


def _settings(owner: str, node: Any) -> Settings:
    return Settings(
        owner, node.get("config") if isinstance(node, dict) and node.get("class_name") != "function" else {}
    )


def make_regularizer(owner: str, node: Any, custom: Custom, arrangement: Arrangement | None = None) -> Regularizer:
    """Build a regularizer from its node. A custom regularizer gets the weight in Keras' arrangement.

    Args:
        owner: description of the weight or layer, for messages.
        node: the regularizer's node in the file.
        custom: name -> factory of custom rules.
        arrangement: arrangement of the weight; None for the output of a layer.
    """
    name, settings = _name(node), _settings(owner, node)
    if name in custom:
        regularizer: Regularizer = _custom(owner, name, settings, custom, Regularizer)
        return regularizer if arrangement is None else Transformed(regularizer, arrangement.to_keras)
    if name == "L1":
        return L1(settings.number("l1", 0.01, low=0))
    if name == "L2":
        return L2(settings.number("l2", 0.01, low=0))
    if name == "L1L2":
        return L1L2(settings.number("l1", 0.0, low=0), settings.number("l2", 0.0, low=0))
    mode = settings.choice("mode", ("rows", "columns"), "rows")
    if arrangement is not None and arrangement.order == (1, 0):
        mode = "columns" if mode == "rows" else "rows"
    return Orthogonal(settings.number("factor", 0.01, low=0), mode)  # type: ignore[arg-type]


def make_constraint(owner: str, node: Any, custom: Custom, arrangement: Arrangement) -> Constraint:
    """Build a constraint from its node, with its axes converted to dimensions of the parameter.

    Args:
        owner: description of the weight, for messages.
        node: the constraint's node in the file.
        custom: name -> factory of custom rules.
        arrangement: arrangement of the weight.
    """
    name, settings = _name(node), _settings(owner, node)
    if name in custom:
        return InKerasLayout(_custom(owner, name, settings, custom, Constraint), arrangement)
    if name == "NonNeg":
        return NonNeg()
    axes = settings.axes("axis", len(arrangement.keras_shape), 0)
    dims = arrangement.dims(axes)
    rule = _norm_constraint(name, settings, axes if dims is None else dims)
    return InKerasLayout(rule, arrangement) if dims is None else rule


def _norm_constraint(name: str, settings: Settings, dims: tuple[int, ...]) -> Constraint:
    if name == "UnitNorm":
        return UnitNorm(dims)
    if name == "MaxNorm":
        return MaxNorm(settings.number("max_value", 2.0, low=0), dims)
    low, high = settings.number("min_value", 0.0, low=0), settings.number("max_value", 1.0, low=0)
    if low > high:
        raise settings.wrong("min_value", f"at most max_value={high}")
    return MinMaxNorm(low, high, settings.number("rate", 1.0, low=0, high=1), dims)


def _custom(owner: str, name: str, settings: Settings, custom: Custom, kind: type) -> Any:
    try:
        rule = custom[name](**{str(key): value for key, value in settings.values.items()})
    except Exception as error:
        raise KerasFileError(
            f"{owner}: custom[{shown(name)}] failed with {printable(as_one_line(error), 300)}"
        ) from error
    if not isinstance(rule, kind):
        raise KerasFileError(
            f"{owner}: custom[{shown(name)}] returned {type(rule).__name__}: it must be a {kind.__name__}"
        )
    return rule


class InKerasLayout(Constraint):
    """A constraint on a weight in Keras' arrangement, for axes that are not separate dimensions in torch.

    A depthwise kernel is an example: Keras has separate axes for inputs and multiplier, torch has one dimension for both.
    """

    def __init__(self, rule: Constraint, arrangement: Arrangement) -> None:
        super().__init__()
        self.rule = rule
        self.arrangement = arrangement

    def settings(self) -> dict[str, Any]:
        """The settings of the wrapped rule."""
        return self.rule.settings()

    def forward(self, w: Tensor) -> Tensor:
        """Return the constrained tensor, in torch's arrangement."""
        constrained: Tensor = self.rule(self.arrangement.to_keras(w))
        return self.arrangement.to_torch(constrained)


class Transformed(Regularizer):
    """A regularizer of a transformed tensor: a weight in Keras' arrangement, or the output of a final activation."""

    def __init__(self, rule: Regularizer, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule
        self.transform = transform

    def settings(self) -> dict[str, Any]:
        """The settings of the wrapped rule."""
        return self.rule.settings()

    def to_config(self) -> dict[str, Any]:
        """The configuration of the wrapped rule."""
        return self.rule.to_config()

    def forward(self, w: Tensor) -> Tensor:
        """Return the penalty of the transformed tensor."""
        penalty: Tensor = self.rule(self.transform(w))
        return penalty


_INITIALIZERS = {
    "GlorotUniform": "glorot_uniform",
    "GlorotNormal": "glorot_normal",
    "HeUniform": "he_uniform",
    "HeNormal": "he_normal",
    "LecunUniform": "lecun_uniform",
    "LecunNormal": "lecun_normal",
    "VarianceScaling": "variance_scaling",
    "RandomNormal": "random_normal",
    "RandomUniform": "random_uniform",
    "TruncatedNormal": "truncated_normal",
    "Orthogonal": "orthogonal",
    "OrthogonalInitializer": "orthogonal",
    "Zeros": "zeros",
    "Ones": "ones",
    "Constant": "constant",
    "Identity": "identity",
    "IdentityInitializer": "identity",
}
_RENAMED = {"mean": "mean", "stddev": "std", "minval": "low", "maxval": "high", "gain": "gain", "value": "value"}
_SCALED = ("scale", "mode", "distribution")


def initializer_node(node: Any) -> dict[str, Any] | None:
    """The configuration node of regtorch's counterpart of an initializer; None if there is none.

    Example:
        >>> initializer_node({"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.05, "seed": None}})
        {'name': 'random_normal', 'mean': 0.0, 'std': 0.05}
    """
    name = _INITIALIZERS.get(_name(node))
    config = node.get("config") if isinstance(node, dict) else None
    if name is None:
        return None
    config = config if isinstance(config, dict) else {}
    kept = {_RENAMED[key]: value for key, value in config.items() if key in _RENAMED}
    kept |= {key: config[key] for key in _SCALED if name == "variance_scaling" and key in config}
    return {"name": name, **kept}
