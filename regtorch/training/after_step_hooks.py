"""Lightning has no hook behind an optimizer's step: this callback's `stepped` is one."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.after_step import after_step_of_any
from regtorch.errors import SettingError


def check_strategy(trainer: lightning.Trainer) -> None:
    """Refuse a strategy under which weights are pieces of flat tensors, or steps are no torch optimizer's.

    Raises:
        SettingError: FSDP's first version, or DeepSpeed.
    """
    if isinstance(trainer.strategy, (FSDPStrategy, DeepSpeedStrategy)):
        raise SettingError(
            f"strategy={type(trainer.strategy).__name__} is not allowed with penalties and constraints, which would not see "
            "whole weights: take ModelParallelStrategy and fully_shard, or ddp"
        )


class AfterStepHooks(lightning.Callback):
    """Calls `stepped` after each step by which something was learnt."""

    def __init__(self) -> None:
        self.handle: RemovableHandle | None = None
        self.without_gradient: Optimizer | None = None

    def stepped(self, pl_module: Any, optimizer: Optimizer) -> None:
        """Runs once after every real step of each optimizer."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin to look out for steps."""
        self.remove()
        # not a hook of each optimizer: one that is put in its place while training would have none
        self.handle = after_step_of_any(lambda: trainer.optimizers, partial(self._real_step, pl_module))

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """See to it that a step is what it should be."""
        if not pl_module.automatic_optimization:
            return
        if trainer.fit_loop._skip_backward:
            # StochasticWeightAveraging's last pass, for batch normalisation: Lightning ends it with a step by the
            # gradients that the epoch before left behind, from weights that are the average already
            optimizer.zero_grad()
        gradients = any(w.grad is not None for group in optimizer.param_groups for w in group["params"])
        self.without_gradient = None if gradients else optimizer

    def _real_step(self, pl_module: lightning.LightningModule, optimizer: Optimizer) -> None:
        if optimizer is self.without_gradient:
            self.without_gradient = None  # nothing was learnt: Lightning steps all the same
        else:
            self.stepped(pl_module, optimizer)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Look out no longer."""
        self.remove()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        """Look out no longer."""
        self.remove()

    def remove(self) -> None:
        """Take back what was hooked in."""
        if self.handle is not None:
            self.handle.remove()
        self.handle = None
