"""A copy of a model whose dropouts stay on in eval mode."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from regtorch.errors import NothingBoundError
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.device_check import devices_named
from regtorch.mc.dropouts import cannot_draw, has_dropout
from regtorch.mc.model_state import check_materialized
from regtorch.mc.module_calls import exclusively
from regtorch.mc.noise_sites import NoiseSearch
from regtorch.mc.sampler import Sampler
from regtorch.tensor_ops.arguments import check_module


def always_on(model: nn.Module) -> nn.Module:
    """A copy whose dropouts drop in eval mode too; batch normalisation and everything else follow the mode as before.

    For those who loop by hand, as with a ``MCDropout`` layer in Keras that is called with ``training=True``: every
    forward pass of the copy in eval mode is one draw, with masks of their own for each row. The names of its
    parameters and its ``state_dict`` are the model's. `MCPredictor` does the same at less cost and reproducibly.

    What draws random numbers is found by watching the copy's first forward pass in eval mode, as `MCPredictor` does.

    Args:
        model: any module.

    Raises:
        SettingError: no module, or one with lazy layers that have not run yet.
        NothingBoundError: the model has no dropout; where its own code might draw, the first forward pass raises it.

    Warns:
        UserWarning: a module does more in training mode than drop: its own noise stays off.

    Example:
        >>> import torch
        >>> model = always_on(nn.Sequential(nn.BatchNorm1d(1000), nn.Dropout(0.5))).eval()
        >>> (model(torch.ones(1, 1000)) == 0).any().item(), model[0].num_batches_tracked.item()
        (True, 0)
    """
    check_module(model)
    check_materialized(model)
    if not has_dropout(model) and cannot_draw(model):
        raise NothingBoundError(_no_dropout(model))
    active = copy.deepcopy(model)
    for module in active.modules():
        if isinstance(module, nn.TransformerEncoder):  # padded rows would take a path for evaluation alone
            module.enable_nested_tensor = module.use_nested_tensor = False
    active.register_forward_pre_hook(_FirstPass(), with_kwargs=True)
    return active


def _no_dropout(model: nn.Module) -> str:
    return f"{type(model).__name__} has no dropout that drops something: there is nothing to leave on"


class _FirstPass:
    """Finds what draws in a model's first pass in eval mode, and lets it stay in training mode from then on."""

    def __init__(self) -> None:
        self.is_watching = False

    def __call__(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        if model.training or self.is_watching:
            return
        self.is_watching = True
        try:
            with exclusively(), torch.inference_mode(False), torch.no_grad():
                batch = BatchArgs(args, kwargs)
                with devices_named(model, batch.tensors):
                    found = NoiseSearch(model, Sampler(0, True), batch, _warn).find()
        finally:
            self.is_watching = False
        if not any(site.sampled for site in found.sites):
            raise NothingBoundError(_no_dropout(model))
        for key, hook in list(model._forward_pre_hooks.items()):
            if hook is self:
                del model._forward_pre_hooks[key]
                model._forward_pre_hooks_with_kwargs.pop(key, None)
        active = [module for module in model.modules() if module in found.active]
        switch = _SwitchOn(
            active, [(m, name, on) for (m, name), (by, on, _) in found.settings.items() if by in found.active]
        )
        switch(model, ())
        for module in dict.fromkeys((model, *active)):
            module.register_forward_pre_hook(switch if module is model else _switch_on)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)


class _SwitchOn:
    """Puts modules into training mode before the model runs, as some look at others' modes.

    Args:
        modules: those that draw, and those that they look at.
        settings: module, attribute, and the value that its own `train` sets.
    """

    def __init__(self, modules: list[nn.Module], settings: list[tuple[nn.Module, str, Any]]) -> None:
        self.modules, self.settings = modules, settings

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        for module in self.modules:
            module.training = True
        for module, name, value in self.settings:
            vars(module)[name] = value


def _switch_on(module: nn.Module, inputs: Any) -> None:
    module.training = True
