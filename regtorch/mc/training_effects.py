"""What modules do in training mode besides drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from regtorch.errors import as_one_line
from regtorch.mc.allclose_scaled import same_values
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.model_state import unchanged
from regtorch.mc.sampler import Sampler
from regtorch.mc.watch import ModeSettings, saved_random_state, training_mode_of

_OTHER_OUTPUT = "its output differs also without the noise"


class TrainingEffects:
    """Compares passes without noise, with some more modules in training mode.

    Args:
        model: any module.
        sampler: makes noise neutral.
        batch: a few rows.
        settings: what modules' own `train` sets.
    """

    def __init__(self, model: nn.Module, sampler: Sampler, batch: BatchArgs, settings: ModeSettings) -> None:
        self.model, self.sampler, self.batch, self.settings = model, sampler, batch, settings

    def of(self, fixed: frozenset[nn.Module], active: frozenset[nn.Module], python_random: bool) -> str:
        """What changes besides the noise when further modules are in training mode; empty if nothing is seen to."""
        self.sampler.neutral_is_scaled = True
        reason = self._changes(fixed, active, python_random)
        if reason == _OTHER_OUTPUT:  # noise that is not divided by the probability to keep is neutral in another way
            self.sampler.neutral_is_scaled = False
            reason = self._changes(fixed, active, python_random)
        return reason

    def _changes(self, fixed: frozenset[nn.Module], active: frozenset[nn.Module], python_random: bool) -> str:
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        sampler = self.sampler
        results, sampler.neutral, sampler.is_neutral = [], True, True
        updated = ""
        try:
            for modules in (fixed, active):
                copy = self.batch.clone()
                with unchanged(self.model), training_mode_of(self.model, modules, self.settings), saved_random_state():
                    with sampler.in_place_of(self.model, modules), sampler.drawing():
                        results.append(self.model(*copy.args, **copy.kwargs))
                    changed = [n for n, b in self.model.named_buffers() if not _same_buffer(b, buffers.get(n))]
                    updated = changed[0] if changed and modules is active else updated
        except Exception as error:
            return f"it fails there: {as_one_line(error)}"
        finally:
            sampler.neutral = False
        if updated:
            return f"it updates its buffer {updated}"
        if type(results[0]) is not type(results[1]):
            return f"it gives a {type(results[1]).__name__} instead of a {type(results[0]).__name__}"
        if sampler.is_neutral and not python_random and not same_values(*results):
            return _OTHER_OUTPUT
        return ""


def _same_buffer(found: Any, wanted: Any) -> bool:
    return wanted is not None and found.shape == wanted.shape and torch.equal(found, wanted)
