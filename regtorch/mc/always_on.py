"""A copy of a model whose dropouts stay on in eval mode."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import nn

from regtorch.errors import NothingBoundError
from regtorch.mc.arguments import check_is_module
from regtorch.mc.dropouts import (
    drops_by_itself,
    has_dropout,
    has_dropout_inside,
    is_dropout,
    is_fused,
    normalises_by_itself,
)


def always_on(model: nn.Module) -> nn.Module:
    """A copy whose dropouts drop in eval mode too; batch normalisation and everything else follow the mode as before.

    For those who loop by hand, as with a ``MCDropout`` layer in Keras that is called with ``training=True``: every
    forward pass of the copy in eval mode is one draw, with masks of their own for each row. The names of its
    parameters and its ``state_dict`` are the model's. `MCPredictor` does the same at less cost and reproducibly.

    Args:
        model: any module.

    Raises:
        SettingError: no module.
        NothingBoundError: the model has no dropout.

    Warns:
        UserWarning: a module's own code drops, and normalises by the batch in training mode, too: it stays off.

    Example:
        >>> import torch
        >>> model = always_on(nn.Sequential(nn.BatchNorm1d(1000), nn.Dropout(0.5))).eval()
        >>> (model(torch.ones(1, 1000)) == 0).any().item(), model[0].num_batches_tracked.item()
        (True, 0)
    """
    check_is_module(model)
    if not has_dropout(model):
        raise NothingBoundError(
            f"{type(model).__name__} has no dropout that drops something: there is nothing to leave on"
        )
    active = copy.deepcopy(model)
    refused = set()
    for module in active.modules():
        if isinstance(module, nn.TransformerEncoder):  # padded rows would go by a way for evaluation alone
            module.enable_nested_tensor = module.use_nested_tensor = False
        by_itself = drops_by_itself(module) and not is_dropout(module)
        if by_itself and normalises_by_itself(module):
            refused.add(type(module).__name__)
        elif by_itself or is_dropout(module) or has_dropout_inside(module) or is_fused(module):
            module.register_forward_pre_hook(_switch_on)
    for name in sorted(refused):
        warnings.warn(
            f"{name} does more in training mode than drop, it normalises by the batch: its own dropout stays off; "
            "a module of its own for it would stay on",
            stacklevel=2,
        )
    return active


def _switch_on(module: nn.Module, inputs: Any) -> None:
    module.training = True
