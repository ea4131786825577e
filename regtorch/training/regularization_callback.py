"""A callback that regularizes any LightningModule without changes to its code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.optim import Optimizer

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.compat.lightning_internals import accumulates
from regtorch.errors import SettingError
from regtorch.tensor_ops.summed import summed
from regtorch.training.after_step_hooks import AfterStepHooks, check_strategy
from regtorch.training.regularized_module import RegularizedModule, check_bound, check_part_of


class RegularizationCallback(AfterStepHooks):
    """Adds penalties to the loss and applies constraints after each real step, for an unchanged LightningModule.

    During a fit, the penalty is added to the loss that the module's ``training_step`` returns, so loss scaling, clipping
    and DDP's reductions include it. With gradient accumulation, the penalty of weights is added to the window's last batch
    with full weight: once per step, also in a shorter last window, where Lightning divides the data loss by the full
    ``accumulate_grad_batches``. Penalties of activities are means over the window's batches. The module's own logging is
    unchanged; the penalty is logged as ``penalty``.

    Constraints are applied as in `RegularizedModule`: once after every step that an optimizer really takes, not when a
    ``GradScaler`` skips it. They also work under manual optimization, but penalties are refused there, because the module
    decides when to step; add ``penalty()`` to its loss instead.

    Several processes give the same result as one: under DDP and, if the module shards itself (``fully_shard`` in its
    ``configure_model``, with `ModelParallelStrategy`), under FSDP. A logged penalty of activities covers only the rows of
    rank 0.

    Args:
        penalties: `WeightPenalty`s, bound to the module or to a part of it.
        constraints: `WeightConstraint`s, likewise.
        log: whether to log the penalty.

    Raises:
        SettingError: a rule is not bound; when training starts: a rule is bound to another model, penalties under manual
            optimization, a second such callback, penalties for a `RegularizedModule`, which takes them itself, or a
            strategy that flattens weights (FSDP's first version, DeepSpeed).

    Example:
        >>> import regtorch
        >>> module = torch.nn.Linear(3, 2)  # any LightningModule
        >>> penalty = regtorch.WeightPenalty(module, regtorch.L2(1e-4))
        >>> callback = RegularizationCallback(penalties=[penalty])  # lightning.Trainer(callbacks=[callback])
    """

    def __init__(
        self,
        penalties: Sequence[WeightPenalty] = (),
        constraints: Sequence[WeightConstraint] = (),
        log: bool = True,
    ) -> None:
        super().__init__()
        check_bound(penalties, constraints)
        self.penalties = list(penalties)
        self.constraints = list(constraints)
        self.log = log
        self._undo: Any = None

    def __repr__(self) -> str:
        return f"RegularizationCallback(penalties={self.penalties}, constraints={self.constraints}, log={self.log})"

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start to add the penalty and to watch for optimizer steps."""
        if self.penalties or self.constraints:
            check_strategy(trainer)
        super().on_train_start(trainer, pl_module)
        if sum(isinstance(callback, RegularizationCallback) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise SettingError("two RegularizationCallbacks are not allowed: give all rules to one")
        check_part_of(pl_module, self.penalties)
        check_part_of(pl_module, self.constraints)
        if not self.penalties:
            return
        if isinstance(pl_module, RegularizedModule):
            raise SettingError(f"{type(pl_module).__name__} takes penalties itself: give it penalties=, not a callback")
        if not pl_module.automatic_optimization:
            raise SettingError(
                "penalties are not allowed under manual optimization, where the module decides when to step; "
                "add penalty() to the loss in its training_step"
            )
        self._wrap(trainer, pl_module)

    def stepped(self, pl_module: Any, optimizer: Optimizer) -> None:
        """Apply the constraints."""
        for constraint in self.constraints:
            constraint.after_step(optimizer)

    def _wrap(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        own = vars(pl_module).get("training_step")  # an instance attribute, such as torch.compile sets
        training_step = pl_module.training_step

        @wraps(training_step)
        def with_penalty(*args: Any, **kwargs: Any) -> Any:
            for rule in self.penalties:
                rule.begin_step()
            outputs = training_step(*args, **kwargs)
            loss: Any = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is None:
                return outputs  # Lightning skips this batch
            penalty = self._of_batch(trainer, pl_module)
            loss = loss + (penalty.to(loss.device) if isinstance(loss, Tensor) else penalty)
            return {**outputs, "loss": loss} if isinstance(outputs, dict) else loss

        def undo() -> None:
            vars(pl_module).pop("training_step", None)
            if own is not None:
                pl_module.training_step = own  # type: ignore[method-assign]

        pl_module.training_step = with_penalty  # type: ignore[method-assign]
        self._undo = undo

    def _of_batch(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> Tensor:
        """Return the penalty for a batch's loss, which Lightning divides by ``accumulate_grad_batches``."""
        every = trainer.accumulate_grad_batches
        if every > 1 and accumulates(trainer):
            parts = [part for penalty in self.penalties if (part := penalty.activity_part()) is not None]
            return summed(parts) if parts else torch.zeros((), device=pl_module.device)
        total = summed([penalty() for penalty in self.penalties])
        if self.log:
            pl_module.log("penalty", total.detach())
        if every == 1:
            return total
        of_activities = [part for penalty in self.penalties if (part := penalty.activity_part()) is not None]
        if not of_activities:
            return total * every
        of_this_batch = summed(of_activities).to(total.device)
        return (total - of_this_batch) * every + of_this_batch

    def remove(self) -> None:
        """Restore the module."""
        super().remove()
        if self._undo is not None:
            self._undo()
        self._undo = None
