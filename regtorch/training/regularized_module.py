"""The LightningModule that adds penalties to the loss and applies constraints after each real optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.after_step import after_step
from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.errors import SettingError


class _AfterStepHooks(lightning.Callback):
    """Registers the module's hook on every optimizer; optimizers lose their hooks when they are copied or unpickled."""

    def __init__(self) -> None:
        self.handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, RegularizedModule):
            hook = pl_module.on_after_optimizer_step
            self.handles = [after_step(optimizer, hook) for optimizer in trainer.optimizers]

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._remove()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []


class RegularizedModule(lightning.LightningModule):
    """A LightningModule whose loss carries penalties and whose weights keep constraints.

    Subclass it and write ``data_loss(batch, batch_idx)`` and ``configure_optimizers()``; under manual optimization
    write ``training_step`` yourself and add ``self.penalty()`` to the loss. Then ``on_after_optimizer_step`` runs once
    after every step that an optimizer really takes: also under gradient accumulation, with several optimizers, with
    LBFGS, and not when a ``GradScaler`` skips the step.

    Args:
        model: the network, kept as ``self.model``.
        penalties: bound `WeightPenalty`s.
        constraints: bound `WeightConstraint`s.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        penalties: Sequence[WeightPenalty] = (),
        constraints: Sequence[WeightConstraint] = (),
    ) -> None:
        super().__init__()
        if model is not None:
            self.model = model
        for bound, kind in ((penalties, WeightPenalty), (constraints, WeightConstraint)):
            for rule in bound:
                if not isinstance(rule, kind):
                    raise SettingError(
                        f"{rule} is not allowed: bind it to the model first, {kind.__name__}(model, ...)"
                    )
        self.penalties = list(penalties)
        self.constraints = list(constraints)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output."""
        return self.model(*args, **kwargs)

    def penalty(self) -> Tensor:
        """The sum of all penalties, a 0-dim tensor, float32 or wider."""
        if not self.penalties:
            return torch.zeros((), device=self.device)
        return self.penalties[0]() if len(self.penalties) == 1 else torch.stack([p() for p in self.penalties]).sum()

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        """The mean loss of a batch, without penalties; write this in a subclass."""
        raise TypeError(f"{type(self).__qualname__} must define data_loss(batch, batch_idx), or its own training_step")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Data loss plus penalty, scaled for the accumulation window."""
        return self.regularized(self.data_loss(batch, batch_idx), batch_idx)

    def regularized(self, data_loss: Tensor, batch_idx: int, penalty: Tensor | None = None) -> Tensor:
        """What ``training_step`` returns under automatic optimization: ``data_loss + penalty``, once per step.

        Lightning divides each batch's loss by ``accumulate_grad_batches``; in a last window that is shorter this
        would weaken the whole step, so that window's losses are scaled up to count once together.

        Args:
            data_loss: mean loss of the batch.
            batch_idx: its number in the epoch.
            penalty: if it is known already.
        """
        total = data_loss + (self.penalty() if penalty is None else penalty)
        every, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        in_window = min(every, batches - batch_idx // every * every)
        return total if in_window == every else total * (every / in_window)

    def on_after_optimizer_step(self, optimizer: Optimizer) -> None:
        """Runs once after every real step of each optimizer: constrains the parameters that it holds."""
        for constraint in self.constraints:
            constraint.after_step(optimizer)

    @property
    def trainer(self) -> lightning.Trainer:
        """The Trainer that the module is attached to."""
        return super().trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        lightning.LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]
        # here, and not in a hook of Lightning's, because a subclass may override those and forget about super()
        if trainer is not None and not any(isinstance(callback, _AfterStepHooks) for callback in trainer.callbacks):
            trainer.callbacks.append(_AfterStepHooks())
