"""What the `train` of a class sets besides its modules' modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.mc.model_state import unchanged
from regtorch.mc.watch import ModeSettings

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def own_train(model: nn.Module) -> list[nn.Module]:
    """The modules whose class has a `train` of its own, callers first."""
    return [
        m
        for m in model.modules()
        if not isinstance(m, torch.jit.ScriptModule)
        and (type(m).train is not nn.Module.train or type(m).eval is not nn.Module.eval or "train" in vars(m))
    ]


def mode_settings(model: nn.Module) -> ModeSettings:
    """The attributes of plain values that differ after the modules' own `train()` and `eval()`.

    What else these do, such as merging weights, is undone; a module for which tensors change has no settings.
    """
    found: ModeSettings = {}
    for owner in own_train(model):
        with as_before(model):
            try:
                owner.eval()
                off, tensors = _attributes(model), _tensors(model)
                owner.train()
                on = _attributes(model)
            except Exception:  # it does not allow a mode
                continue
            if any(not _same(a, b) for a, b in zip(tensors, _tensors(model), strict=False)):
                continue
        for place in on.keys() & off.keys():
            if type(on[place]) is not type(off[place]) or on[place] != off[place]:
                found[place] = owner, on[place], off[place]
    return found


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Give modes, attributes and buffers back, and parameters where a module's own `train` may change them."""
    modes = {module: module.training for module in model.modules()}
    tensors = [*(model.parameters() if own_train(model) else ()), *model.buffers()]
    held = [(v, v.data, v.detach().clone()) for v in tensors if not v.is_inference()]
    try:
        with unchanged(model):
            try:
                yield
            finally:
                for module in own_train(model):  # what it sets in other objects
                    with suppress(Exception):
                        module.train(modes[module])
    finally:
        for module, mode in modes.items():
            module.training = mode
        for tensor, data, numbers in held:
            if tensor.data_ptr() != data.data_ptr():
                tensor.data = data
            if not _same(tensor, numbers):
                tensor.data.copy_(numbers)


def _attributes(model: nn.Module) -> dict[tuple[nn.Module, str], Any]:
    return {
        (module, name): value
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, value in vars(module).items()
        if name != "training" and isinstance(value, _PLAIN)
    }


def _tensors(model: nn.Module) -> list[Tensor]:
    return [v.detach().clone() for v in (*model.parameters(), *model.buffers())]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.detach().nan_to_num(), b.nan_to_num())
