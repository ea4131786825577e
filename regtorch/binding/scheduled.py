"""A penalty's strength, or the probabilities of dropouts, that follow a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.binding import WeightPenalty
from regtorch.binding.after_step import after_step
from regtorch.compat.torch_internals import clear_compiler_specializations
from regtorch.dropout.base import Noise
from regtorch.errors import NothingBoundError, SettingError
from regtorch.regularizers.base import Regularizer
from regtorch.schedules.base import Schedule
from regtorch.settings import check

#: the factors of a longer training are checked at this many evenly spaced steps only, as each check takes 0.3 us
MOST_STEPS_TRIED = 1_000_000


class Scheduled:
    """Sets a penalty's strength, or the probabilities of dropouts, to nominal value times the schedule's factor.

    After ``k`` optimizer steps the factor is ``schedule.factor(min(1, k / total_steps))``, so before the first step
    it is ``schedule.factor(0)``, and after the last it stays ``schedule.factor(1)``. It is assigned to the `factor` of a
    penalty. In a module it multiplies the `drop_prob` of regtorch's dropouts, the `std` of `GaussianNoise` and the
    `p` of torch's dropout modules; nominal values are those at binding. Learned probabilities stay as they are, and so
    does dropout outside dropout modules: ``F.dropout`` calls, the ``dropout=`` of attention and recurrent layers.

    In a compiled model the probabilities of regtorch's dropouts are inputs of the graph. torch's own dropouts are
    recompiled for each value, eight times at most: convert them with `regtorch.convert_dropout` first. With a
    schedule, `DropBlock2d` has a graph break for each value: ``fullgraph=True`` is an error.

    Args:
        target: a `WeightPenalty`, or a module with dropouts in it.
        schedule: a `Schedule`, e.g. ``regtorch.CosineSchedule()``.
        total_steps: number of optimizer steps in the training, >= 1.

    Raises:
        SettingError: the target or the schedule has the wrong type, `total_steps` is below 1, or at some step the factor
            is negative or not finite or moves a dropout's value outside its range.
        NothingBoundError: the module has no dropout.

    Example:
        >>> import regtorch
        >>> drop = regtorch.Dropout(drop_prob=0.4)
        >>> scheduled = Scheduled(drop, regtorch.LinearWarmupSchedule(warmup_fraction=0.5), total_steps=4)
        >>> [drop.drop_prob, *(scheduled.advance() or drop.drop_prob for _ in range(4))]
        [0.0, 0.2, 0.4, 0.4, 0.4]
    """

    def __init__(self, target: WeightPenalty | nn.Module, schedule: Schedule, total_steps: int) -> None:
        if not isinstance(target, (WeightPenalty, nn.Module)):
            raise SettingError(f"target={target} is not allowed: it must be a WeightPenalty, or a module with dropouts")
        if not isinstance(schedule, Schedule):
            raise SettingError(
                f"schedule={schedule} is not allowed: it must be a Schedule, e.g. regtorch.CosineSchedule()"
            )
        check(total_steps=total_steps)
        self.target = target
        self.schedule = schedule
        self.total_steps = total_steps
        self._steps_taken = 0
        self._places = _places(target)
        self._refuse_impossible_values()
        self._set(self.factor)

    @property
    def steps_taken(self) -> int:
        """Number of optimizer steps so far; it may exceed `total_steps`."""
        return self._steps_taken

    @property
    def factor(self) -> float:
        """The current multiplier of the nominal values."""
        return self._factor_after(self._steps_taken)

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Advance after each step that the optimizer actually takes, not after one that a GradScaler skips.

        The hook is lost when the optimizer is copied or unpickled.

        Returns:
            A handle; ``handle.remove()`` detaches the schedule.
        """
        return after_step(optimizer, lambda stepped: self.advance())

    def advance(self) -> None:
        """Advance by one step; `attach` calls this after each optimizer step."""
        self._steps_taken += 1
        self._set(self.factor)

    def restore(self) -> None:
        """Reset the target to its nominal values, e.g. after the training; `advance` continues the schedule."""
        self._set(1.0)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps so far, as plain numbers that ``torch.load(..., weights_only=True)`` reads.

        The schedule and the nominal values are settings, not state: build an equal `Scheduled` and load the state.
        """
        return {"steps_taken": self._steps_taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state: the target gets the value of that step immediately.

        Raises:
            SettingError: the state does not come from `state_dict`.
        """
        if set(state) != {"steps_taken"}:
            raise SettingError(f"a Scheduled's state holds steps_taken, got {', '.join(map(str, state)) or 'nothing'}")
        check(steps_taken=state["steps_taken"])
        self._steps_taken = state["steps_taken"]
        self._set(self.factor)

    def __repr__(self) -> str:
        places = ", ".join(place.name for place in self._places)
        return (
            f"{type(self).__name__}({self.schedule!r}, bound to {places}, step {self.steps_taken}/{self.total_steps})"
        )

    def _factor_after(self, steps: int) -> float:
        return float(self.schedule.factor(min(1.0, steps / self.total_steps)))

    def _set(self, factor: float) -> None:
        clear_compiler_specializations()
        for place in self._places:
            place.set(factor)

    def _refuse_impossible_values(self) -> None:
        """Try the smallest and the largest value, so that errors occur before the training starts."""
        stride = max(1, self.total_steps // MOST_STEPS_TRIED)
        factors = [self._factor_after(steps) for steps in (*range(0, self.total_steps, stride), self.total_steps)]
        for factor in factors:
            if not 0 <= factor < math.inf:
                raise SettingError(f"{self.schedule!r} is not allowed: its factor {factor} must be finite and >= 0")
        for factor in (min(factors), max(factors)):
            for place in self._places:
                try:
                    place.set(factor)
                except SettingError as error:
                    raise SettingError(
                        f"{self.schedule!r} is not allowed for {place.name}: at its factor {factor}, {error}"
                    ) from None
                finally:
                    place.set(1.0)


@dataclass(frozen=True)
class _Place:
    """A value that follows the schedule: an attribute of a penalty or a dropout."""

    name: str
    owner: Any
    attribute: str
    nominal: float

    def set(self, factor: float) -> None:
        value = self.nominal * factor
        if self.attribute == "p":  # torch checks it only when the module is built
            check(drop_prob=value)
        setattr(self.owner, self.attribute, value)


def _places(target: WeightPenalty | nn.Module) -> list[_Place]:
    if isinstance(target, WeightPenalty):
        return [_Place("penalty", target, "factor", 1.0)]
    if isinstance(target, Regularizer):
        raise SettingError(f"{target} is not bound yet: schedule a WeightPenalty(model, {type(target).__name__}(...))")
    found = []
    for name, module in target.named_modules():
        if (attribute := _strength(module)) is not None:
            found.append(_Place(name or type(module).__name__, module, attribute, getattr(module, attribute)))
    if not found:
        raise NothingBoundError(
            f"{type(target).__name__} has no dropout module whose probability could follow a schedule"
        )
    return found


def _strength(module: nn.Module) -> str | None:
    """The name of the attribute with a dropout's strength; None for other modules."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return "p"
    if isinstance(module, Noise) and not module.learned:
        return module.strength_name()
    return None
