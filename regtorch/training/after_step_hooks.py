"""A callback with a hook after each optimizer step, which Lightning lacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.binding.after_step import after_step_of_any
from regtorch.compat.lightning_internals import skips_backward
from regtorch.errors import SettingError


def check_strategy(trainer: lightning.Trainer) -> None:
    """Refuse strategies that flatten and shard weights, or that step without a torch optimizer.

    Raises:
        SettingError: the strategy is FSDP's first version, or DeepSpeed.
    """
    if isinstance(trainer.strategy, (FSDPStrategy, DeepSpeedStrategy)):
        raise SettingError(
            f"strategy={type(trainer.strategy).__name__} is not allowed with penalties and constraints, which need "
            "complete weights; take ModelParallelStrategy and fully_shard, or ddp"
        )


class AfterStepHooks(lightning.Callback):
    """Calls `stepped` after each real optimizer step."""

    def __init__(self) -> None:
        self.handle: RemovableHandle | None = None
        self.without_gradient: Optimizer | None = None

    def stepped(self, pl_module: Any, optimizer: Optimizer) -> None:
        """Runs once after every real step of each optimizer."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start to watch for optimizer steps."""
        self.remove()
        # a hook on each optimizer would miss optimizers that replace another one during training
        self.handle = after_step_of_any(lambda: trainer.optimizers, partial(self._real_step, pl_module))

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """Record whether the step has gradients, and discard stale gradients."""
        if not pl_module.automatic_optimization:
            return
        if skips_backward(trainer):
            # the last pass of StochasticWeightAveraging, for batch normalization: Lightning ends it with a step that would
            # apply the gradients of the previous epoch to the averaged weights
            optimizer.zero_grad()
        gradients = any(w.grad is not None for group in optimizer.param_groups for w in group["params"])
        self.without_gradient = None if gradients else optimizer

    def _real_step(self, pl_module: lightning.LightningModule, optimizer: Optimizer) -> None:
        if optimizer is self.without_gradient:
            self.without_gradient = None  # Lightning steps even without gradients
        else:
            self.stepped(pl_module, optimizer)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Stop watching for steps."""
        self.remove()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        """Stop watching for steps."""
        self.remove()

    def remove(self) -> None:
        """Remove the hook."""
        if self.handle is not None:
            self.handle.remove()
        self.handle = None
