"""The base of all dropouts: how a probability is given, and where the randomness comes from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor, nn

from regtorch.arguments import check_tensor
from regtorch.configurable import Configurable
from regtorch.dropout.traceable import takes_only_a_tensor, traceable
from regtorch.errors import NamingError, SettingError
from regtorch.settings import check, ranges_of


def complement(prob: float) -> float:
    """``1 - prob`` as one would write it: 0.1 for 0.9, where binary arithmetic has 0.09999999999999998."""
    return float(1 - Decimal(str(prob)))


class Noise(Configurable, nn.Module):
    """A module whose output is random while training and its input itself in evaluation.

    ``torch.fx`` records it as one node, and ``torch.jit.script`` compiles its evaluation.
    """

    #: source of all randomness; None: torch's own. Neither a setting nor part of the state, and lost in copies.
    generator: torch.Generator | None = None
    #: one draw for all rows of a batch instead of one each, so that a row's result depends on no other row
    shared: bool = False
    #: the number of dimensions that a feature map must have, where it matters
    spatial_dims: ClassVar[int | None] = None
    #: whether it acts on feature maps rather than on single units
    whole_maps: ClassVar[bool] = False
    #: whether it is for sequences, and not for feature maps
    of_sequences: ClassVar[bool] = False
    #: whether its probability is a parameter that trains
    learned: ClassVar[bool] = False
    #: whether it drops weights: it then wraps a layer, its attribute `layer`, and `around(layer)` gives one that does
    acts_on_weights: ClassVar[bool] = False
    #: what it does to its input x: "scale", ``s * x``; "affine", ``s * x + t``; None, anything else. s and t must depend
    #: on the draws and the shape of x alone. Monte Carlo prediction then draws them once for all rows, which is faster.
    effect: ClassVar[Literal["scale", "affine"] | None] = None

    #: what torch.jit.script leaves out
    __jit_unused_properties__: ClassVar[list[str]] = []

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Call `forward`."""
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """The module's output.

            Raises:
                SettingError: it is given something that is not a tensor, and wraps no other layer.
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
        """What ``torch.jit.script`` asks for before it looks at the module.

        Raises:
            SettingError: its forward pass cannot be scripted.
        """
        if not getattr(type(self).forward, "scripts_in_evaluation", False):
            raise SettingError(
                f"torch.jit.script cannot compile a {type(self).__name__}: script regtorch.plain(model), a copy without "
                "dropouts"
            )
        return self

    @classmethod
    def setting_names(cls) -> list[str]:
        """The keyword arguments of the constructor."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in cls.not_settings]

    @classmethod
    def from_config(cls, **settings: Any) -> Any:
        """Build one from a configuration node's settings; the constructor says what is wrong with them."""
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        """Name -> value of every setting; of the two probabilities the one to drop."""
        return {name: getattr(self, name) for name in self.setting_names() if name != "keep_prob"}

    def extra_repr(self) -> str:
        """The settings, as the constructor takes them."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.setting_names())

    def refuse(self, positional: tuple[object, ...], unknown: Mapping[str, object]) -> None:
        """Say what to write instead of arguments that do not say what they mean.

        Raises:
            NamingError: there is a positional or an unknown argument.
        """
        name, names = type(self).__name__, self.setting_names()
        vague = [(f"{value!r}", value) for value in positional]
        vague += [(f"{key}={value!r}", value) for key, value in unknown.items() if key in ("p", "rate", "stddev")]
        if vague:
            given, value = vague[0]
            instead = " or ".join(f"{key}={value!r}" for key in names if key in ("drop_prob", "keep_prob", "std"))
            doubt = (
                "it is not obvious whether it is the probability to drop or to keep"
                if "keep_prob" in names
                else "keyword only"
            )
            raise NamingError(f"{name}({given}): write {instead}; {doubt}")
        for key, value in unknown.items():
            raise NamingError(f"{key}={value}: {name} has no such setting; it has: {', '.join(names)}")

    def check_maps(self, x: Tensor) -> None:
        """Refuse an input that is not (batch, channels, *sizes) with `spatial_dims` sizes.

        Raises:
            SettingError: a shape of another length.
        """
        if self.spatial_dims is not None and x.ndim != 2 + self.spatial_dims:
            sizes = ("depth", "height", "width")[-self.spatial_dims :] if self.spatial_dims > 1 else ("length",)
            wanted = ", ".join(("batch", "channels", *sizes))
            raise SettingError(f"{type(self).__name__} takes ({wanted}), got shape {tuple(x.shape)}")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "generator"}


class ProbabilityDropout(Noise):
    """A dropout with a probability, given as exactly one of `drop_prob` and `keep_prob`, by name.

    Subclass it and write `forward(x)`, which reads `drop_prob`, `training`, `generator` and `shared` of itself.

    Args:
        drop_prob: probability to drop, from 0 to 1.
        keep_prob: 1 - drop_prob.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.
    """

    #: what a configuration that names neither probability gets
    default_drop_prob: ClassVar[float] = 0.5

    # nothing may be given as the arguments of type NoReturn: type checkers say so, and `refuse` what to write instead
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
            check(component=ranges_of(type(self)), keep_prob=keep_prob)
            self.drop_prob = complement(keep_prob)
        else:
            raise NamingError(f"{name} needs a probability: write drop_prob=... or keep_prob=...")

    @classmethod
    def from_config(cls, **settings: Any) -> Any:
        """Build one from a configuration node's settings; without a probability it is the class's default."""
        if settings.get("drop_prob") is None and settings.get("keep_prob") is None:
            settings["drop_prob"] = cls.default_drop_prob
        return super().from_config(**settings)

    @property
    def drop_prob(self) -> float:
        """Probability to drop; may be set at any time."""
        return self._drop_prob

    @drop_prob.setter
    def drop_prob(self, value: float) -> None:
        check(component=ranges_of(type(self)), drop_prob=value)
        self._drop_prob = float(value)

    @property
    def p(self) -> float:
        """`drop_prob` by torch's name, for models that read it of a dropout which `convert_dropout` has replaced."""
        return self.drop_prob

    @p.setter
    def p(self, value: float) -> None:
        self.drop_prob = value

    @property
    def keep_prob(self) -> float:
        """Probability to keep: ``1 - drop_prob``."""
        return complement(self.drop_prob)
