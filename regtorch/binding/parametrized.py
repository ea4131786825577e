"""Weights that are computed from parameters: ``torch.nn.utils.parametrize``, weight normalization, pruning."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from regtorch.tensor_ops.full_precision import autocast_off


def computed(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Map the name of each computed tensor of a module to the parameters from which it is computed.

    Example:
        >>> import torch
        >>> layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> {name: [tuple(w.shape) for w in originals] for name, originals in computed(layer).items()}
        {'weight': [(2, 1), (2, 3)]}
    """
    lists = _parametrizations(module)
    found = {name: list(lists[name].parameters(recurse=False)) for name in lists}
    for name, _ in _by_hook(module):
        parts = [module._parameters.get(f"{name}_{part}") for part in ("orig", "g", "v")]
        found[name] = [w for w in parts if w is not None]
    return {name: originals for name, originals in found.items() if originals}


def effective(module: nn.Module, name: str) -> Tensor:
    """The current tensor that the module uses, computed with autocast off and without side effects."""
    with autocast_off(_device(module)):
        lists = _parametrizations(module)
        if name not in lists:
            return next(compute for hooked, compute in _by_hook(module) if hooked == name)(module)  # type: ignore[no-any-return]
        training = [part for part in lists[name].modules() if part.training]
        try:
            for part in training:
                part.training = False  # a spectral norm's power iteration belongs to the forward pass
            return getattr(module, name)  # type: ignore[no-any-return]
        finally:
            for part in training:
                part.training = True


def can_be_set(module: nn.Module, name: str) -> bool:
    """Whether a value can be assigned to the tensor: each of its parametrizations has a ``right_inverse``."""
    lists = _parametrizations(module)
    return name in lists and all(hasattr(part, "right_inverse") for part in lists[name])


def _parametrizations(module: nn.Module) -> Any:
    lists = module._modules.get("parametrizations")
    return lists if isinstance(lists, nn.ModuleDict) and nn.utils.parametrize.is_parametrized(module) else {}


def _by_hook(module: nn.Module) -> list[tuple[str, Any]]:
    """Tensors that torch's older hooks set before each forward pass, and functions that compute them."""
    found: list[tuple[str, Any]] = []
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__ == "torch.nn.utils.prune":
            found.append((hook._tensor_name, hook.apply_mask))  # type: ignore[attr-defined]
        elif type(hook).__module__ == "torch.nn.utils.weight_norm":
            found.append((hook.name, hook.compute_weight))  # type: ignore[attr-defined]
        elif type(hook).__module__ == "torch.nn.utils.spectral_norm":
            found.append((hook.name, partial(hook.compute_weight, do_power_iteration=False)))  # type: ignore[attr-defined]
    return found


def _device(module: nn.Module) -> str:
    return next((w.device.type for w in module.parameters()), "cpu")
