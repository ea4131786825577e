"""A LightningModule that adds penalties to the loss and applies constraints after each real optimizer step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn
from torch.optim import Optimizer

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.compat.lightning_internals import names_logged_before_batch_end
from regtorch.errors import SettingError, as_one_line
from regtorch.tensor_ops.summed import summed
from regtorch.training.after_step_hooks import AfterStepHooks, check_strategy


class _AfterStepHooks(AfterStepHooks):
    """Calls the module's hook, and gives a shorter last accumulation window its full weight."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, RegularizedModule):
            by_lbfgs = any(isinstance(optimizer, torch.optim.LBFGS) for optimizer in trainer.optimizers)
            if by_lbfgs and pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1:
                raise SettingError(
                    f"accumulate_grad_batches={trainer.accumulate_grad_batches} is not allowed with LBFGS, which computes "
                    "the loss of a step several times, but only of the window's last batch; take larger batches"
                )
            if pl_module.penalties or pl_module.constraints:
                check_strategy(trainer)
            check_part_of(pl_module, pl_module.penalties)
            check_part_of(pl_module, pl_module.constraints)
            super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if isinstance(pl_module, RegularizedModule):
            for penalty in pl_module.penalties:
                penalty.begin_step()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, RegularizedModule):
            return
        logged, pl_module._to_log = pl_module._to_log, {}
        # not in the module's hooks, because a subclass may log the same names, and its values take precedence
        names = names_logged_before_batch_end(trainer)
        new = {name: value for name, value in logged.items() if name not in names}
        pl_module.log_dict(new, on_step=True, on_epoch=False)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        if not isinstance(pl_module, RegularizedModule) or not pl_module.automatic_optimization:
            return
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        factor = pl_module._window_correction()
        gradients = [w.grad for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        if gradients and factor != 1.0:
            torch._foreach_mul_(gradients, factor)

    def stepped(self, pl_module: Any, optimizer: Optimizer) -> None:
        pl_module.on_after_optimizer_step(optimizer)


def check_bound(penalties: Sequence[Any], constraints: Sequence[Any]) -> None:
    """Refuse rules that are not bound to a model.

    Raises:
        SettingError: names the first such rule.
    """
    for bound, kind in ((penalties, WeightPenalty), (constraints, WeightConstraint)):
        if isinstance(bound, (WeightPenalty, WeightConstraint)):
            raise SettingError(f"{bound} is not allowed: rules are given as a list, [{kind.__name__}(...)]")
        for rule in bound:
            if isinstance(rule, (WeightPenalty, WeightConstraint)) and not isinstance(rule, kind):
                place = "penalties" if isinstance(rule, WeightPenalty) else "constraints"
                raise SettingError(f"{rule} is not allowed here: it is one of the {place}=")
            if not isinstance(rule, kind):
                raise SettingError(f"{rule} is not allowed: bind it to the model first, {kind.__name__}(model, ...)")


def check_part_of(module: nn.Module, rules: Iterable[WeightPenalty | WeightConstraint]) -> None:
    """Refuse rules that are bound to another module.

    Raises:
        SettingError: names the first such rule.
    """
    held = {id(part) for part in module.modules()}
    for rule in rules:
        if any(id(part) not in held for part in rule.modules):
            raise SettingError(f"{rule} is not allowed: it is not bound to a part of {type(module).__name__}")


_GIVE = (
    " needs the arguments of the class, which are not in the checkpoint: give model=, and penalties= and "
    "constraints= to train further"
)


class RegularizedModule(lightning.LightningModule):
    """A LightningModule whose loss carries penalties and whose weights keep constraints.

    Subclass it and write ``data_loss(batch, batch_idx)`` and ``configure_optimizers()``; under manual optimization
    write ``training_step`` yourself and add ``self.penalty()`` to the loss. Then ``on_after_optimizer_step`` runs once
    after every step that an optimizer really takes: also under gradient accumulation, with several optimizers, with
    LBFGS, and with an optimizer that replaces another one during training, but not when a ``GradScaler`` skips the step or
    Lightning steps without any gradient. LBFGS with gradient accumulation is refused, because it would use only the last
    batch of a window, in addition to the gradients of all its batches.

    *Averaged weights* (Lightning's ``WeightAveraging``, ``EMAWeightAveraging``, ``StochasticWeightAveraging``) are the
    averages of the constrained weights. So they satisfy convex constraints too: `MaxNorm`, `NonNeg`, and `MinMaxNorm`
    without a lower bound. They do not satisfy `UnitNorm` and lower bounds, because the average of two units of norm 1 is
    shorter; call ``constraint.project()`` after training if these must hold. An averaged weight is exactly zero only if
    the weight was zero all the time. The penalty in training is that of the trained weights, even while a copy of the
    module has the average; in validation, when Lightning swaps the two, it is that of the average.

    Args:
        model: the network, kept as ``self.model``.
        penalties: bound `WeightPenalty`s.
        constraints: bound `WeightConstraint`s.
        log_loss: whether to log ``loss``, which is minimized, and ``penalty``, which is part of it, at each step.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        penalties: Sequence[WeightPenalty] = (),
        constraints: Sequence[WeightConstraint] = (),
        log_loss: bool = True,
    ) -> None:
        super().__init__()
        if model is not None:
            self.model = model
        check_bound(penalties, constraints)
        self.penalties = list(penalties)
        self.constraints = list(constraints)
        self.log_loss = log_loss
        self._to_log: dict[str, Tensor] = {}
        self._batches_in_window: int | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output."""
        return self.model(*args, **kwargs)

    def penalty(self) -> Tensor:
        """Return the sum of all penalties, a 0-dim tensor, float32 or wider."""
        if not self.penalties:
            return torch.zeros((), dtype=torch.float32, device=self.device)
        total = summed([penalty() for penalty in self.penalties])
        if self.training and self.log_loss:
            self._to_log = {**self._to_log, "penalty": total.detach()}
        return total

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the mean loss of a batch, without penalties; override it in a subclass."""
        raise TypeError(f"{type(self).__qualname__} must define data_loss(batch, batch_idx), or its own training_step")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return data loss plus penalty, scaled for the accumulation window."""
        return self.regularized(self.data_loss(batch, batch_idx), batch_idx)

    def regularized(self, data_loss: Tensor, batch_idx: int, penalty: Tensor | None = None) -> Tensor:
        """Return the loss for ``training_step`` under automatic optimization: ``data_loss + penalty``, once per step.

        Lightning divides each batch's loss by ``accumulate_grad_batches``. In a shorter last window this would weaken the
        step, so the losses of that window are scaled up to a total weight of one. If the number of batches is unknown (a
        data set without a length), its gradients are scaled up before they are clipped and before the step.

        Args:
            data_loss: mean loss of the batch.
            batch_idx: number of the batch in the epoch.
            penalty: the penalty, if it is computed already.
        """
        total = data_loss + (self.penalty() if penalty is None else penalty).to(data_loss.device)
        if self.log_loss:
            self._to_log = {**self._to_log, "loss": total.detach()}
        every, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        if every == 1:
            return total
        self._batches_in_window = int(min(every, batches - batch_idx // every * every))
        return total if self._batches_in_window == every else total * (every / self._batches_in_window)

    def _window_correction(self) -> float:
        """Return the factor for the gradients of a window that was shorter than assumed."""
        assumed, self._batches_in_window = self._batches_in_window, None
        return (
            1.0
            if assumed is None
            else assumed / (self.trainer.fit_loop.batch_idx % self.trainer.accumulate_grad_batches + 1)
        )

    @_restricted_classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Make a module of this class with the weights of a checkpoint, as for any LightningModule.

        A checkpoint has weights and, with ``self.save_hyperparameters``, numbers and names, but no rules and no network.
        Give the arguments of the class: ``load_from_checkpoint(path, model=model)``; penalties and constraints are needed
        only to train further.

        Raises:
            SettingError: an argument that the class needs is not given.
        """
        try:
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        except TypeError as error:
            if "missing" not in str(error):
                raise
            raise SettingError(f"{cls.__name__}.load_from_checkpoint{_GIVE} ({as_one_line(error)})") from None

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Load weights, as for any module.

        Raises:
            SettingError: they belong to a model, but this module was built without one.
        """
        if not hasattr(self, "model") and any(key.startswith("model.") for key in state_dict):
            raise SettingError(f"{type(self).__name__}.load_from_checkpoint{_GIVE}")
        return super().load_state_dict(state_dict, *args, **kwargs)

    def on_after_optimizer_step(self, optimizer: Optimizer) -> None:
        """Apply the constraints to an optimizer's parameters; runs once after every real step of each optimizer."""
        for constraint in self.constraints:
            constraint.after_step(optimizer)

    @lightning.LightningModule.trainer.setter  # type: ignore[attr-defined, untyped-decorator]
    def trainer(self, trainer: Any) -> None:
        """Attach the module to a Trainer."""
        lightning.LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]
        # not in one of Lightning's hooks, because a subclass may override those without calling super()
        if trainer is not None and not any(isinstance(callback, _AfterStepHooks) for callback in trainer.callbacks):
            trainer.callbacks.append(_AfterStepHooks())
