"""The base of all dropouts: probability arguments and sources of randomness."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor, nn

from regtorch.dropout.traceable import takes_only_a_tensor, traceable
from regtorch.errors import NamingError, SettingError
from regtorch.registry.configurable import Configurable, arguments
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor


def complement(prob: float) -> float:
    """``1 - prob`` in decimal arithmetic: 0.1 for 0.9, where binary arithmetic yields 0.09999999999999998."""
    return float(1 - Decimal(str(prob)))


class Noise(Configurable, nn.Module):
    """A module whose output is random in training; in evaluation it returns its input.

    ``torch.fx`` records it as one node, and ``torch.jit.script`` compiles its evaluation.
    """

    #: source of all randomness; None: torch's own. It is neither a setting nor part of the state, and copies lose it.
    generator: torch.Generator | None = None
    #: one draw for all rows of a batch instead of one per row, so that a row's result does not depend on other rows
    shared: bool = False
    #: the required number of dimensions of a feature map, if there is one
    spatial_dims: ClassVar[int | None] = None
    #: whether the dropout acts on feature maps instead of single units
    whole_maps: ClassVar[bool] = False
    #: whether the dropout is for sequences and not for feature maps
    of_sequences: ClassVar[bool] = False
    #: whether its probability is a parameter that trains
    learned: ClassVar[bool] = False
    #: whether the dropout drops weights: it then wraps its attribute `layer`, and `around(layer)` returns such a wrapper
    acts_on_weights: ClassVar[bool] = False
    #: the effect on the input x: "scale", ``s * x``; "affine", ``s * x + t``; None, anything else. s and t must depend only
    #: on the draws and the shape of x. Monte Carlo prediction then draws them once for all rows, which is faster.
    effect: ClassVar[Literal["scale", "affine"] | None] = None

    #: the setting that is the strength of the noise, which is 0 for no noise; None: `drop_prob` or `std`, if it has one.
    #: Schedules multiply it, and prediction skips a module whose strength is 0. Without such a setting it always draws.
    strength_setting: ClassVar[str | None] = None

    #: properties that torch.jit.script skips
    __jit_unused_properties__: ClassVar[list[str]] = []

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Call `forward`."""
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """The module's output.

            Raises:
                SettingError: the input is not a tensor, and the dropout wraps no layer.
            """
            if args and not self.acts_on_weights:
                check_tensor(args[0], type(self).__name__)
            return super().__call__(*args, **kwargs)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        forward = vars(cls).get("forward")
        if inspect.isfunction(forward) and takes_only_a_tensor(forward):
            cls.forward = traceable(forward)
        properties = inspect.getmembers(cls, lambda member: isinstance(member, property))
        cls.__jit_unused_properties__ = [name for name, _ in properties]

    def __prepare_scriptable__(self) -> Noise:
        """A hook that ``torch.jit.script`` calls before it compiles the module.

        Raises:
            SettingError: the forward pass cannot be scripted.
        """
        if not getattr(type(self).forward, "scripts_in_evaluation", False):
            raise SettingError(
                f"torch.jit.script cannot compile a {type(self).__name__}: script regtorch.plain(model), a copy without "
                "dropouts"
            )
        return self

    @classmethod
    def setting_names(cls) -> list[str]:
        """The named arguments of the constructor."""
        return [name for name in arguments(cls) if name not in cls.not_settings]

    def strength_name(self) -> str | None:
        """The name of the attribute with the strength of the noise; None if it has none."""
        names = ("drop_prob", "std") if self.strength_setting is None else (self.strength_setting,)
        return next((name for name in names if hasattr(self, name)), None)

    @classmethod
    def from_config(cls, **settings: Any) -> Any:
        """Build one from a configuration node's settings; the constructor checks them."""
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        """Name -> value of every setting; drop_prob instead of both probabilities."""
        return {name: getattr(self, name) for name in self.setting_names() if name != "keep_prob"}

    def extra_repr(self) -> str:
        """The settings, as the constructor takes them."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.setting_names())

    def refuse(self, positional: tuple[object, ...], unknown: Mapping[str, object]) -> None:
        """Reject ambiguous arguments with a message that suggests clear ones.

        Raises:
            NamingError: there is a positional or an unknown argument.
        """
        name, names = type(self).__name__, self.setting_names()
        vague = [(f"{value!r}", value) for value in positional]
        vague += [(f"{key}={value!r}", value) for key, value in unknown.items() if key in ("p", "rate", "stddev")]
        if vague:
            given, value = vague[0]
            probabilities = [key for key in names if key in ("drop_prob", "keep_prob")]
            instead = " or ".join(f"{key}={value!r}" for key in probabilities or names[:1]) or "no argument"
            doubt = (
                "it is unclear whether this is the probability to drop or to keep"
                if "keep_prob" in names
                else "keyword only"
            )
            raise NamingError(f"{name}({given}): write {instead}; {doubt}")
        for key, value in unknown.items():
            raise NamingError(f"{key}={value}: {name} has no such setting; it has: {', '.join(names)}")

    def check_maps(self, x: Tensor) -> None:
        """Raise unless the input is (batch, channels, *sizes) with `spatial_dims` sizes.

        Raises:
            SettingError: the input has another number of dimensions.
        """
        if self.spatial_dims is not None and x.ndim != 2 + self.spatial_dims:
            sizes = ("depth", "height", "width")[-self.spatial_dims :] if self.spatial_dims > 1 else ("length",)
            wanted = ", ".join(("batch", "channels", *sizes))
            raise SettingError(f"{type(self).__name__} takes ({wanted}), got shape {tuple(x.shape)}")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "generator"}


class ProbabilityDropout(Noise):
    """A dropout with a probability, given as exactly one of `drop_prob` and `keep_prob`, by name.

    Subclass it and write `forward(x)`, which reads `self.drop_prob`, `self.training`, `self.generator` and `self.shared`.

    Args:
        drop_prob: probability to drop, from 0 to 1.
        keep_prob: 1 - drop_prob.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.
    """

    #: the default in configurations that set neither probability
    default_drop_prob: ClassVar[float] = 0.5

    # type checkers reject arguments of type NoReturn; `refuse` suggests what to write instead
    def __init__(
        self, *args: NoReturn, drop_prob: float | None = None, keep_prob: float | None = None, **unknown: NoReturn
    ) -> None:
        super().__init__()
        self.refuse(args, unknown)
        name = type(self).__name__
        if drop_prob is not None and keep_prob is not None:
            raise NamingError(
                f"{name}: drop_prob={drop_prob} and keep_prob={keep_prob} are both given, give one of them"
            )
        if drop_prob is not None:
            self.drop_prob = drop_prob
        elif keep_prob is not None:
            check(ranges=self.ranges, keep_prob=keep_prob)
            self.drop_prob = complement(keep_prob)
        else:
            raise NamingError(f"{name} needs a probability: write drop_prob=... or keep_prob=...")

    @classmethod
    def from_config(cls, **settings: Any) -> Any:
        """Build one from a configuration node's settings; without a probability, use the class's default."""
        if settings.get("drop_prob") is None and settings.get("keep_prob") is None:
            settings["drop_prob"] = cls.default_drop_prob
        return super().from_config(**settings)

    @property
    def drop_prob(self) -> float:
        """Probability to drop; may be set at any time."""
        return self._drop_prob

    @drop_prob.setter
    def drop_prob(self, value: float) -> None:
        check(ranges=self.ranges, drop_prob=value)
        self._drop_prob = float(value)

    @property
    def p(self) -> float:
        """`drop_prob` under torch's name, for models that read it from a dropout that `convert_dropout` has replaced."""
        return self.drop_prob

    @p.setter
    def p(self, value: float) -> None:
        self.drop_prob = value

    @property
    def keep_prob(self) -> float:
        """Probability to keep: ``1 - drop_prob``."""
        return complement(self.drop_prob)
