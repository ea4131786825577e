"""Conversion of a trained model to torch's own modules, so that it runs without regtorch."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

from torch import nn

from regtorch.dropout.base import Noise
from regtorch.errors import SettingError
from regtorch.mc.dropouts import is_dropout
from regtorch.models.cnn import CNN
from regtorch.models.mlp import MLP
from regtorch.models.parts import AsMaps


def plain(model: nn.Module) -> nn.Module:
    """A copy of a model in eval mode that does not need regtorch: without dropouts, made of torch's own modules.

    Dropouts become ``nn.Identity``, and a `DropConnect` becomes the layer that it wraps. Subclasses of torch's layers that
    differ in training only become torch's layers; `MLP` and `CNN` become ``nn.Sequential`` with the same names in their
    ``state_dict``. Modules of other libraries stay. The copy computes the same function in evaluation, and is suited to
    ``torch.export``, ``torch.onnx`` and ``torch.save``.

    Args:
        model: any module.

    Raises:
        SettingError: it is not a module, or a part needs code of regtorch, such as a Keras layer that torch does not
            have; ``torch.export.export`` and ``torch.onnx.export`` take such a model as it is.

    Example:
        >>> import torch, regtorch
        >>> model = regtorch.create("model", "mlp", shape=(4,), classes=2, hidden=[3], dropout=regtorch.Dropout(drop_prob=0.5))
        >>> plain(model)
        Sequential(
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (input): Sequential()
          (hidden): Sequential(
            (0): Sequential(
              (linear): Linear(in_features=4, out_features=3, bias=True)
              (activation): ReLU()
              (dropout): Identity()
            )
          )
          (head): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"model={model!r} is not allowed: it must be an nn.Module")
    found = _plain(deepcopy(model), {}).eval()
    for name, module in found.named_modules():
        if type(module).__module__.split(".")[0] == "regtorch":
            raise SettingError(
                f"{name or 'the model'} is a {type(module).__name__}, which torch does not have: "
                "export the model as it is, with torch.export.export or torch.onnx.export"
            )
    return found


def _plain(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    """The plain counterpart of a module; a shared module stays shared."""
    if module not in made:
        made[module] = _made_plain(module, made)
    return made[module]


def _made_plain(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    if isinstance(module, Noise) and module.acts_on_weights and isinstance(module.layer, nn.Module):
        return _plain(module.layer, made)
    if is_dropout(module) or isinstance(module, AsMaps):
        return nn.Identity()
    for name, child in list(module._modules.items()):  # named_children skips repeated modules
        if child is not None:
            setattr(module, name, _plain(child, made))
    _remove_hooks(module)
    if isinstance(module, MLP):
        parts = {"flatten": nn.Flatten(), "input": module.input, "hidden": module.hidden, "head": module.head}
        return nn.Sequential(OrderedDict(parts))
    if isinstance(module, CNN):
        return _plain_cnn(module)
    if type(module).__module__.startswith("regtorch.") and (torch_class := _torch_class(module)) is not None:
        module.__class__ = torch_class
        vars(module).pop("given", None)
    return module


def _plain_cnn(model: CNN) -> nn.Module:
    layers = {str(index): layer for index, layer in enumerate(model.hidden)}
    before = list(layers)[: model.convolutions]
    hidden: dict[str, nn.Module] = {name: layers[name] for name in before}
    hidden["flatten"] = model.flatten
    hidden |= {name: layer for name, layer in layers.items() if name not in before}
    return nn.Sequential(
        OrderedDict({"input": model.input, "hidden": nn.Sequential(OrderedDict(hidden)), "head": model.head})
    )


def _torch_class(module: nn.Module) -> type[nn.Module] | None:
    """The torch class from which our module's class derives; it computes the same in evaluation."""
    of_torch = (cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.modules."))
    return next((cls for cls in of_torch if cls is not nn.Module and not cls.__name__.startswith("_")), None)


def _remove_hooks(module: nn.Module) -> None:
    """Remove the hooks of activity penalties."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key, hook in list(hooks.items()):
            if str(getattr(hook, "__module__", "")).startswith("regtorch."):
                del hooks[key]
