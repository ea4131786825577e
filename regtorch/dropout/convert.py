"""Conversion of the dropouts of a model that was written without regtorch."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from torch import Tensor, nn

from regtorch.dropout.alpha_dropout import AlphaDropout
from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.branch_dropping import branch_drop_prob
from regtorch.dropout.drop_block import DropBlock2d, DropBlock3d
from regtorch.dropout.drop_path import DropPath
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.feature_alpha_dropout import FeatureAlphaDropout
from regtorch.dropout.none import NoDropout
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.errors import SettingError
from regtorch.registry import component
from regtorch.tensor_ops.arguments import check_module

#: torch's dropouts and their counterparts here; their `p` is the probability to drop
_COUNTERPARTS: dict[type[nn.Module], type[ProbabilityDropout]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: SpatialDropout1d,
    nn.Dropout2d: SpatialDropout2d,
    nn.Dropout3d: SpatialDropout3d,
    nn.AlphaDropout: AlphaDropout,
    nn.FeatureAlphaDropout: FeatureAlphaDropout,
}


def convert_dropout(model: nn.Module, target: type[nn.Module] | str | None = None) -> nn.Module:
    """Replace torch's dropout modules in place with regtorch's, with the same probability to drop.

    Without a target each module becomes its counterpart. This applies to ``nn.Dropout``, ``Dropout1d/2d/3d``,
    ``AlphaDropout``, ``FeatureAlphaDropout``, and to modules named ``DropPath`` or ``StochasticDepth`` of torchvision, timm,
    transformers or others, if they drop each row's branch and scale the rest. Those that do not scale, or that drop all
    rows together, are not replaced. torchvision's ``DropBlock2d`` and ``DropBlock3d`` become `DropBlock2d` and
    `DropBlock3d`, which drop with exactly the given probability; timm's, which drops far more, is not replaced. With a
    target all of them become that class, element-wise and spatial ones and regtorch's own too; only a ``DropPath`` stays
    a ``DropPath``, as it drops branches and not units.

    Each module keeps its training mode, and a shared module stays shared. Subclasses with their own `forward` are not
    replaced, and neither is dropout outside modules: ``F.dropout`` calls, the ``dropout=`` of attention and recurrent
    layers. A model that passes its dropout's `p` to a function (timm's attention) still finds `p`, and that function
    drops, whatever the target is.

    Args:
        model: the model, or a single dropout.
        target: a dropout class that takes `drop_prob`, or its registered name.

    Returns:
        The model; if it is itself a dropout, the new module.

    Raises:
        SettingError: the target is not a dropout of units, or does not permit a probability found in the model
            (then nothing is replaced).
        UnknownNameError: no dropout is registered under the target's name.

    Warns:
        UserWarning: nothing was found to convert.

    Example:
        >>> convert_dropout(nn.Sequential(nn.SELU(), nn.Dropout(0.1)), AlphaDropout)
        Sequential(
          (0): SELU()
          (1): AlphaDropout(drop_prob=0.1, keep_prob=0.9)
        )
    """
    check_module(model)
    chosen = None if target is None else _dropout_class(target)
    replaced = {old: new for old in model.modules() if (new := _replacement(old, chosen)) is not None}
    if not replaced:
        warnings.warn("convert_dropout found no dropout module to convert", stacklevel=2)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replaced:
                parent._modules[name] = replaced[child]
    return replaced.get(model, model)


def _dropout_class(target: type[nn.Module] | str) -> Any:
    cls: Any = component("dropout", target).load() if isinstance(target, str) else target
    is_module = inspect.isclass(cls) and issubclass(cls, nn.Module)
    takes_it = is_module and "drop_prob" in inspect.signature(cls).parameters
    if not takes_it or issubclass(cls, NoDropout) or getattr(cls, "acts_on_weights", False):
        raise SettingError(f"target={target!r} is not allowed: it must be a class that drops units with a drop_prob")
    return cls


def _replacement(old: nn.Module, chosen: Any) -> nn.Module | None:
    """The module that replaces the old one; None if it is not replaced."""
    found = counterpart_of(old) or _drop_block_of_torchvision(old)
    if found is None:
        return None
    same, settings = found
    cls = same if chosen is None or same is DropPath else chosen
    if cls is type(old):
        return None
    new: nn.Module = cls(**settings) if cls is same else cls(drop_prob=settings["drop_prob"])
    return new.train(old.training)


def counterpart_of(old: Any) -> tuple[type[ProbabilityDropout], dict[str, Any]] | None:
    """The regtorch class equivalent to a dropout of any library, and its settings; None for other modules."""
    if isinstance(old, ProbabilityDropout):
        return None if old.acts_on_weights else (type(old), old.settings())
    for torch_class, ours in _COUNTERPARTS.items():
        if isinstance(old, torch_class) and type(old).forward is torch_class.forward:
            return ours, {"drop_prob": float(old.p) if isinstance(old.p, Tensor) else old.p}
    drop_prob = branch_drop_prob(old) if isinstance(old, nn.Module) else None
    return None if drop_prob is None else (DropPath, {"drop_prob": drop_prob})


def _drop_block_of_torchvision(old: Any) -> tuple[type[ProbabilityDropout], dict[str, Any]] | None:
    """The nearest class here; it is not equivalent, as torchvision's drops slightly less than its probability."""
    ours: dict[str, type[ProbabilityDropout]] = {"DropBlock2d": DropBlock2d, "DropBlock3d": DropBlock3d}
    name = type(old).__name__
    if name not in ours or not type(old).__module__.startswith("torchvision."):
        return None
    return ours[name], {"drop_prob": old.p, "block_size": old.block_size}
