"""What modules do in training mode besides drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import as_one_line
from regtorch.mc import own_generators
from regtorch.mc.allclose_scaled import same_values
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.model_state import unchanged
from regtorch.mc.random_op import Neutral
from regtorch.mc.sampler import Sampler
from regtorch.mc.structure import tensors_of
from regtorch.mc.watch import ModeSettings, saved_random_state, training_mode_of

_OTHER_OUTPUT = "its output differs also without the noise"
_OTHER_MEAN = "its output differs by more than the noise"
#: draws by which a mean is found out to be near, and to be far
_FEW_DRAWS, _MANY_DRAWS = 4, 32
#: standard errors that a mean is off by where it is another one
_FAR = 6
_ROUNDING = 1e-3


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
        exact, normal, plain, centre = not python_random, not python_random, None, None
        kinds: tuple[Neutral, ...] = ("mean", "kept")
        for kind in kinds:  # noise that is not divided by the probability to keep is neutral in another way
            reason, plain, found = self._changes(fixed, active, kind)
            if reason != _OTHER_OUTPUT:
                return reason
            centre = found if centre is None else centre
            exact, normal = exact and self.sampler.is_neutral, normal and self.sampler.is_normal
        return _OTHER_OUTPUT if exact else self._shifts(active, plain, centre if normal else None)

    def _changes(
        self, fixed: frozenset[nn.Module], active: frozenset[nn.Module], kind: Neutral
    ) -> tuple[str, Any, Any]:
        """What changes, the output without the further modules, and that with them."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        try:
            plain, _ = self._output(fixed, kind)
            found, after = self._output(active, kind)
        except Exception as error:
            return f"it fails there: {as_one_line(error)}", None, None
        reason = ""
        if updated := [n for n, b in after.items() if not _same_buffer(b, buffers.get(n))]:
            reason = f"it updates its buffer {updated[0]}"
        elif type(plain) is not type(found):
            reason = f"it gives a {type(found).__name__} instead of a {type(plain).__name__}"
        elif not same_values(plain, found):
            reason = _OTHER_OUTPUT
        return reason, plain, found

    def _output(self, active: frozenset[nn.Module], kind: Neutral, seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
        """The output with these modules in training mode, without their noise, and what the buffers were then."""
        sampler, copy = self.sampler, self.batch.clone()
        sampler.neutral, sampler.neutral_kind, sampler.is_neutral, sampler.is_normal = True, kind, True, True
        try:
            with unchanged(self.model), training_mode_of(self.model, active, self.settings), saved_random_state(seed):
                for index, generator in enumerate(sampler.generators if kind == "drawn" else ()):
                    own_generators.seed(generator, seed * len(sampler.generators) + index)
                with sampler.in_place_of(self.model, active), sampler.drawing():
                    output = self.model(*copy.args, **copy.kwargs)
                return output, {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        finally:
            sampler.neutral, sampler.neutral_kind = False, "mean"

    def _shifts(self, active: frozenset[nn.Module], plain: Any, centre: Any) -> str:
        """Whether the mean over some draws is far from the output without the further modules.

        Noise alone may shift it, but not by more than its own size: that is other arithmetic.

        Args:
            active: the modules in training mode.
            plain: the output without the further modules.
            centre: where all noise is normal, the output at its means.
        """
        wanted, drawn = _flat(plain), []
        for seed in range(_MANY_DRAWS):
            try:
                drawn.append(_flat(self._output(active, "drawn", seed)[0]))
            except Exception as error:
                return f"it fails there: {as_one_line(error)}"
            if drawn[-1].shape != wanted.shape:  # it drops tokens, for instance
                return ""
            if len(drawn) < _MANY_DRAWS and (len(drawn) != _FEW_DRAWS or centre is not None):
                continue
            samples = torch.stack(drawn)
            mean, noise = samples.mean(0), _size(samples.std(0))
            shift = _size(mean - wanted)
            if shift <= max(noise, _ROUNDING * _size(wanted)) and centre is None:
                return ""
        if shift <= max(_FAR * noise / _MANY_DRAWS**0.5, _ROUNDING * _size(wanted)):
            return ""
        at_centre = centre is not None and _size(mean - _flat(centre)) < shift / 3
        return _OTHER_MEAN if shift > 2 * noise or at_centre else ""


def _flat(output: Any) -> Tensor:
    """All numbers of an output."""
    parts = [t.detach().double().nan_to_num().flatten() for t in tensors_of(output) if not t.is_complex()]
    return torch.cat(parts) if parts else torch.zeros(0)


def _size(numbers: Tensor) -> float:
    return float(numbers.square().mean().sqrt()) if numbers.numel() else 0.0


def _same_buffer(found: Any, wanted: Any) -> bool:
    return wanted is not None and found.shape == wanted.shape and torch.equal(found, wanted)
