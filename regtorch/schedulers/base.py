"""The base of all learning-rate schedules."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from regtorch.registry.configurable import Configurable


class Scheduler(Configurable):
    """Settings of a learning-rate schedule. Subclass it and write `build`."""

    def build(
        self, optimizer: Optimizer, *, total_steps: int, epochs: int, steps_per_epoch: int
    ) -> dict[str, Any] | None:
        """The schedule for one optimizer, as a Lightning module's ``configure_optimizers`` returns it.

        Args:
            optimizer: any torch optimizer; its learning rates are the largest ones of the schedule.
            total_steps: number of optimizer steps in the training.
            epochs: number of epochs in the training.
            steps_per_epoch: number of optimizer steps per epoch.

        Returns:
            ``{"scheduler": ..., "interval": "step" or "epoch"}`` and further keys for Lightning; None for a constant
            learning rate.
        """
        raise TypeError(f"{type(self).__qualname__} must define build(optimizer, ...)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"
