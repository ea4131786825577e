"""Find the dropouts of a model, and the equivalent regtorch dropouts that prediction uses instead."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_code

from regtorch.dropout.base import Noise
from regtorch.dropout.convert import counterpart_of
from regtorch.dropout.none import NoDropout
from regtorch.errors import SettingError
from regtorch.mc.watch import Watch, saved_random_state

#: builds the regtorch dropout that is equivalent to a module
Counterpart = Callable[[nn.Module], Noise]

#: the names of torch's dropouts in TorchScript
_SCRIPTED = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}

_counted: dict[type[nn.Module], Counterpart | None] = {}


def count_as_dropout(kind: type[nn.Module], counterpart: Counterpart | None = None) -> type[nn.Module]:
    """Declare that a module class and its subclasses are dropouts for Monte Carlo prediction.

    Their modules run in training mode while samples are drawn, and draw new numbers for each sample. Everything else that
    they do in training mode also happens. A module that only draws in training mode is found without a declaration.

    Args:
        kind: a module class. The function can also decorate it.
        counterpart: builds the regtorch dropout that is equivalent to such a module. Prediction then uses that
            dropout, which is faster.

    Raises:
        SettingError: `kind` is not a module class.

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
        return count_as_dropout(type(module))  # a plugin registered it, and it does not subclass Noise
    return found


def noise_of(module: nn.Module) -> Noise | None:
    """Return the regtorch dropout that prediction uses for a module: the module itself, its counterpart, or None."""
    kind = _registered(module)
    if kind is not None:
        make = _counted[kind]
        return None if make is None else make(module)
    if isinstance(module, Noise):
        return module
    found = None if isinstance(module, torch.jit.ScriptModule) else counterpart_of(module)
    return None if found is None else found[0](**found[1])


def strength(module: nn.Module) -> float:
    """The strength of a dropout: its probability, or the strength of its noise; at 0 it returns its input."""
    names: tuple[str, ...] = ("drop_prob", "p", "std", "dropout")
    if isinstance(module, Noise) and not isinstance(module, NoDropout):
        name = module.strength_name()
        if name is None:
            return 1.0  # it has no setting that turns it off
        names = (name,)
    values = (getattr(module, name, None) for name in names)
    return float(next((v for v in values if _is_number(v) and v), 0.0))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex())


def is_dropout(module: nn.Module) -> bool:
    """Whether a module is a known dropout of any library, at any strength."""
    if _registered(module) is not None or isinstance(module, nn.modules.dropout._DropoutNd):
        return True
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name in _SCRIPTED
    if isinstance(module, NoDropout):
        return False
    return isinstance(module, Noise) or counterpart_of(module) is not None


def is_counted(module: nn.Module) -> bool:
    """Whether a module's class was registered by `count_as_dropout`, or a plugin registered it as a dropout."""
    return _registered(module) is not None


def has_dropout(model: nn.Module) -> bool:
    """Whether a model has a dropout layer that drops something, or a layer with a `dropout` setting above 0.

    Noise in a model's own code is visible only when the model runs: `sampled_modules` finds it.

    Example:
        >>> has_dropout(nn.LSTM(2, 3, num_layers=2, dropout=0.5)), has_dropout(nn.Dropout(0.0))
        (True, False)
    """
    return any(_drops(module) for module in model.modules())


def _drops(module: nn.Module) -> bool:
    if is_dropout(module):
        return strength(module) > 0 or noise_of(module) is None
    if isinstance(module, nn.RNNBase) and module.num_layers < 2:  # torch drops only between layers
        return False
    inside = getattr(module, "dropout", 0.0)
    return type(module).__module__.startswith("torch.nn.") and isinstance(inside, float) and inside > 0


def cannot_draw(model: nn.Module) -> bool:
    """Whether it is certain, before the model has run, that it draws no random numbers.

    It is certain if all of its layers are torch's or regtorch's, and none of them drops or draws.

    Example:
        >>> cannot_draw(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), cannot_draw(nn.RReLU())
        (True, False)
    """
    hooked = module_code._global_forward_hooks or module_code._global_forward_pre_hooks
    return not hooked and all(_cannot_draw(module) for module in model.modules())


def _cannot_draw(module: nn.Module) -> bool:
    code = getattr(module.forward, "__module__", None) or ""  # an instance may have a forward of its own
    own = not all(name.startswith(("torch.nn.", "regtorch.")) for name in (type(module).__module__, code))
    if own or module._forward_hooks or module._forward_pre_hooks or _drops(module):
        return False
    if is_dropout(module) or any(
        True for held in (module.children(), module.parameters(), module.buffers()) for _ in held
    ):
        return True  # torch's layers with parameters or buffers draw only for their `dropout`
    return _is_seen_not_to_draw(module)


def _is_seen_not_to_draw(layer: nn.Module) -> bool:
    """Run one of torch's layers without parameters on a small tensor, and return whether it drew nothing."""
    mode, watch = layer.training, Watch(layer)
    try:
        layer.training = True
        with torch.no_grad(), saved_random_state(), watch:
            layer(torch.ones(1, 2, 4, 4))
    except Exception:  # it needs another input
        return False
    finally:
        layer.training = mode
    return not watch.draws


def counted_kinds() -> tuple[type[nn.Module], ...]:
    """The classes that `count_as_dropout` has registered so far."""
    return tuple(_counted)
