"""Modules whose own code drops: which of them may be in training mode while samples are drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import nn

from regtorch.mc.alike import same_values
from regtorch.mc.dropouts import drops_by_itself, is_dropout, switched_on
from regtorch.mc.inputs import Inputs
from regtorch.mc.sampler import Sampler


def that_drop_by_themselves(model: nn.Module, sampler: Sampler, few: Inputs) -> frozenset[nn.Module]:
    """Modules whose own code drops something in training mode, and does nothing else there."""
    candidates = [module for module in model.modules() if drops_by_itself(module) and not is_dropout(module)]
    if not candidates:
        return frozenset()

    def harmless(modules: Iterable[nn.Module]) -> bool:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        sampler.neutral = True
        try:
            results = []
            for besides in (frozenset[nn.Module](), frozenset(modules)):
                copy = few.clone()
                with switched_on(model, besides), sampler.in_place_of(model), sampler.drawing():
                    results.append(model(*copy.args, **copy.kwargs))
            same = all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
            return same and same_values(*results)
        except Exception:
            return False
        finally:
            sampler.neutral = False
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])

    if harmless(candidates):
        return frozenset(candidates)
    chosen = frozenset(module for module in candidates if harmless([module]))
    for module in set(candidates) - chosen:
        warnings.warn(
            f"{type(module).__name__} does more in training mode than drop: its own dropout stays off; a module of its "
            "own for it would be sampled",
            stacklevel=6,
        )
    return chosen
