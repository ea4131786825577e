"""What counts as dropout in a model, and switching it on while everything else stays in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import CodeType, FunctionType

import torch
from torch import nn

from regtorch.dropout.base import Noise
from regtorch.dropout.convert import counterpart_of
from regtorch.dropout.none import NoDropout
from regtorch.errors import SettingError

#: makes the regtorch dropout that does what a module does
Counterpart = Callable[[nn.Module], Noise]

#: layers with a dropout of their own inside, which works while they are in training mode
_WITH_DROPOUT_INSIDE = (nn.MultiheadAttention, nn.RNNBase)
#: layers whose fused evaluation pass leaves their dropouts out
_FUSED = (nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.TransformerDecoderLayer)
#: what a module's own code calls when it drops something without a dropout module
_DROPPING_FUNCTIONS = {
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    *("stochastic_depth", "drop_path", "drop_block2d", "drop_block3d", "scaled_dot_product_attention"),
    *("bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like"),
}

_NORMALISING_FUNCTIONS = {"batch_norm", "instance_norm", "native_batch_norm", "sync_batch_norm"}

#: torch's dropouts as TorchScript calls them
_SCRIPTED = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}

_counted: dict[type[nn.Module], Counterpart | None] = {}


def count_as_dropout(kind: type[nn.Module], counterpart: Counterpart | None = None) -> type[nn.Module]:
    """Let Monte Carlo prediction count modules of a class, and of its subclasses, as dropout.

    They are put into training mode while samples are drawn, and whatever they draw is drawn anew for each sample.
    torch's and regtorch's dropouts, and modules called ``DropPath`` or ``StochasticDepth``, count without this.

    Args:
        kind: a module class; this works as its decorator, too.
        counterpart: makes the regtorch dropout that does the same as such a module; it is then computed in its
            place, which is faster.

    Raises:
        SettingError: `kind` is no module class.

    Example:
        >>> @count_as_dropout
        ... class Flip(nn.Module):
        ...     def forward(self, x):
        ...         return x * torch.randn_like(x).sign() if self.training else x
        >>> has_dropout(nn.Sequential(nn.Linear(2, 2), Flip()))
        True
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise SettingError(f"kind={kind!r} is not allowed: it must be a module class")
    _counted[kind] = counterpart
    return kind


def _registered(module: nn.Module) -> type[nn.Module] | None:
    found = next((kind for kind in type(module).__mro__ if kind in _counted), None)
    if found is None and not isinstance(module, Noise) and getattr(module, "registered_as", ("",))[0] == "dropout":
        return count_as_dropout(type(module))  # a dropout of a plugin's that is no subclass of ours
    return found


def noise_of(module: nn.Module) -> Noise | None:
    """The regtorch dropout that computes in a module's place: itself, its counterpart, or None if it has none."""
    kind = _registered(module)
    if kind is not None:
        make = _counted[kind]
        return None if make is None else make(module)
    if isinstance(module, Noise):
        return module
    found = None if isinstance(module, torch.jit.ScriptModule) else counterpart_of(module)
    return None if found is None else found[0](**found[1])


def strength(module: nn.Module) -> float:
    """How much a dropout does: its probability, or its noise's standard deviation; 0 does nothing."""
    values = (getattr(module, name, None) for name in ("drop_prob", "p", "std", "dropout"))
    return float(next((v for v in values if isinstance(v, Real) and v), 0.0))


def is_dropout(module: nn.Module) -> bool:
    """Whether a module is a dropout as a whole, of whichever library, strong or not."""
    if _registered(module) is not None or isinstance(module, nn.modules.dropout._DropoutNd):
        return True
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name in _SCRIPTED
    if isinstance(module, NoDropout):
        return False
    return isinstance(module, Noise) or counterpart_of(module) is not None or _is_unknown_drop_path(module)


def _is_unknown_drop_path(module: nn.Module) -> bool:
    """Whether a module is called as those are that drop branches, and does not say how likely in a known way."""
    return type(module).__name__ == "DropPath" and not hasattr(module, "p") and not hasattr(module, "drop_prob")


def has_dropout_inside(module: nn.Module) -> bool:
    """Whether an attention or recurrent layer drops something within torch's own code."""
    if isinstance(module, nn.RNNBase) and module.num_layers < 2:  # it stands between the layers
        return False
    return isinstance(module, _WITH_DROPOUT_INSIDE) and strength(module) > 0


def is_fused(module: nn.Module) -> bool:
    """Whether a layer of torch's takes a short cut in evaluation that leaves its dropouts out."""
    return isinstance(module, _FUSED)


def drops_by_itself(module: nn.Module) -> bool:
    """Whether a module's own code reads ``self.training`` and calls a function that drops something.

    An attribute of the module that is called like such a function, ``self.dropout = nn.Dropout(0.5)``, is none.
    """
    if type(module).__module__.startswith(("torch.nn.", "regtorch.")):
        return False
    names = _names_in(module)
    called = {n for n in names & _DROPPING_FUNCTIONS if isinstance(getattr(module, n, 0.0), (int, float))}
    return "training" in names and bool(called)


def normalises_by_itself(module: nn.Module) -> bool:
    """Whether a module's own code calls what takes its statistics from the batch in training mode."""
    return bool(_names_in(module) & _NORMALISING_FUNCTIONS)


def _names_in(module: nn.Module) -> set[str]:
    """What a module's own code calls and reads."""
    names: set[str] = set()
    for cls in type(module).__mro__:
        if cls is nn.Module:
            break
        for member in vars(cls).values():
            if isinstance(member, FunctionType) and member.__name__ != "__init__":
                names |= _names(member.__code__)
    return names


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def has_dropout(model: nn.Module) -> bool:
    """Whether a model has something that drops: a module, a layer's inside, or a call in a module's own code.

    Example:
        >>> has_dropout(nn.LSTM(2, 3, num_layers=2, dropout=0.5)), has_dropout(nn.Dropout(0.0))
        (True, False)
    """
    return any(
        (is_dropout(m) and (strength(m) > 0 or noise_of(m) is None)) or has_dropout_inside(m) or drops_by_itself(m)
        for m in _not_recorded(model)
    )


def is_of_torch(module: nn.Module) -> bool:
    """Whether a module and all in it are torch's own layers, of which it is known what they do."""
    return all(type(m).__module__.startswith("torch.nn.") for m in module.modules())


def _not_recorded(module: nn.Module) -> Iterator[nn.Module]:
    """A module and those in it, but for what ``torch.jit.trace`` has recorded: that drops always or never."""
    kind = torch.jit.TopLevelTracedModule  # type: ignore[attr-defined]
    recordings = [m for m in module.modules() if isinstance(m, kind)]
    recorded = {m for recording in recordings for m in recording.modules()}
    return (m for m in module.modules() if m not in recorded)


@contextmanager
def switched_on(model: nn.Module, besides: frozenset[nn.Module] = frozenset()) -> Iterator[None]:
    """Put the model into eval mode with its dropouts on; every module's mode is as before afterwards.

    Args:
        model: any module.
        besides: modules that drop by themselves and are switched on too.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:  # not eval(): a model may have overridden it
            on = is_dropout(module) or has_dropout_inside(module) or is_fused(module) or module in besides
            module.training = on
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
