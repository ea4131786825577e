"""A regularizer bound to parameters, or to layers, of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regtorch.binding.activity import BoundActivity
from regtorch.binding.arguments import check_model, resolve_where
from regtorch.binding.weights import BoundConcrete, BoundWeights
from regtorch.errors import SettingError
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.rule import Where
from regtorch.tensor_ops.arguments import described
from regtorch.tensor_ops.summed import scaled, summed


class WeightPenalty:
    """A regularizer bound to parameters of a model: calling it returns the penalty, to be added to the loss.

    The value is a real 0-dim tensor, float32 or wider, computed with autocast off. A parameter that several layers
    share counts once, also when it is tied or untied after binding, and replaced modules are looked up again. Only
    parameters that train count (``requires_grad`` is read at each call, so a parameter that is unfrozen later counts from
    then on). A weight that is computed from parameters (``torch.nn.utils.parametrize``, weight norm, pruning) counts with
    the value that the layer uses. Inside ``torch.func`` (``functional_call``, ``vmap``, ``grad``, ``jvp``, ``jacfwd``,
    ``hessian``) value and derivatives are the same as outside.

    An `Activity` regularizer is bound to layers instead. Its penalty is computed from the layers' outputs of the current
    step, whether the model's own ``forward`` or parts of it are called. Two passes through a layer count twice.

    - A step ends with a backward pass that frees the graph of an output, or with an optimizer step; the next output of a
      layer starts a new step. Reading the value does not end a step, so it may be read any number of times.
    - Passes in eval mode or without gradients add nothing, and neither does recomputation under activation
      checkpointing. In eval mode, and before any training pass, the value is that of the last such pass.
    - `begin_step` forgets outputs that no backward pass will follow.

    For sharded parameters (DTensors of ``fully_shard``) the value is that of the full tensors: a plain tensor, the same on
    every rank. Each rank gets the gradient of its shards, so the penalty counts once. This costs one reduction of a
    number per rule. `Orthogonal`, `Spectral`, user-defined rules and, for rules by unit, grouped transposed convolutions
    gather the shards once per rule.

    Args:
        model: any module.
        regularizer: a `Regularizer`; `SeveralRegularizers` binds each of its rules to its own place.
        where: which parameters to bind: ``"kernel"``, ``"bias"``, ``"all"``, a glob, ``"kernel:<glob>"`` or a callable
            ``(module, name, parameter) -> bool``. Default: the regularizer's own `where`, else ``"kernel"``.

    Raises:
        NothingBoundError: `where` matches no parameter; the message lists the parameter names.

    Example:
        >>> import regtorch
        >>> layer = nn.Linear(3, 2)
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> WeightPenalty(layer, regtorch.L2(0.5))()
        tensor(12., grad_fn=<...>)
    """

    def __init__(self, model: nn.Module, regularizer: Regularizer, where: Where | None = None) -> None:
        if not isinstance(regularizer, Regularizer):
            raise SettingError(
                f"regularizer={described(regularizer)} is not allowed: it must be a Regularizer, e.g. regtorch.L2(1e-4)"
            )
        check_model(model)
        self.model = model
        self.regularizer = regularizer
        #: multiplies the penalty; schedules change it
        self.factor = 1.0
        self._weights: list[BoundWeights] = []
        self._activities: list[BoundActivity] = []
        for rule in regularizer.parts():
            place = resolve_where(rule, regularizer, where)
            if isinstance(rule, Activity):
                self._activities.append(BoundActivity(model, rule, place))
            elif isinstance(rule, Concrete):
                self._weights.append(BoundConcrete(model, rule, place))
            else:
                self._weights.append(BoundWeights(model, rule, place))

    @property
    def names(self) -> list[str]:
        """The names of the bound parameters and layers."""
        bound = [name for rule in self._weights for name in rule.names]
        return bound + [name for rule in self._activities for name in rule.names]

    @property
    def bound(self) -> list[tuple[Regularizer, list[str]]]:
        """Each rule, and the names of the parameters or layers that it is bound to."""
        weights = [(rule.regularizer, list(rule.names)) for rule in self._weights]
        return weights + [(rule.regularizer, list(rule.names)) for rule in self._activities]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules with the bound parameters, and the bound layers with their model."""
        of_weights = [module for rule in self._weights for module in rule.modules]
        of_activities = [layer for rule in self._activities for layer in (self.model, *rule.modules)]
        return of_weights + of_activities

    @property
    def of_activities(self) -> bool:
        """Whether the penalty depends on layers' outputs, not only on weights."""
        return bool(self._activities)

    def __call__(self) -> Tensor:
        """The current penalty.

        Raises:
            SettingError: a bound weight belongs to a lazy layer that has not run yet, the rule returns a complex number,
                or an activity penalty is not available: see `Activity`.
        """
        return self._total() if self.factor == 1.0 else scaled(self._total(), self.factor)

    def activity_part(self) -> Tensor | None:
        """The part of the penalty that is computed from layers' outputs; None if there is none.

        Example:
            >>> import regtorch
            >>> model = nn.Sequential(nn.Linear(3, 2))
            >>> penalty = WeightPenalty(model, regtorch.Activity(regtorch.L1(0.1)))
            >>> penalty.activity_part() is None
            True
            >>> _ = model(torch.ones(4, 3))
            >>> bool(penalty.activity_part() == penalty())
            True
        """
        parts = [value for rule in self._activities if (value := rule()) is not None]
        return scaled(summed(parts), self.factor) if parts else None

    def begin_step(self) -> None:
        """Start a new step: forget the layers' outputs so far.

        A backward pass or an optimizer step ends a step automatically. Call this after training-mode passes that no
        backward pass follows, such as a pass that only determines a shape, or the passes of a skipped batch.

        Example:
            >>> import regtorch
            >>> model = nn.Sequential(nn.Linear(3, 2))
            >>> penalty = WeightPenalty(model, regtorch.Activity(regtorch.L1(0.1)))
            >>> _ = model(torch.ones(4, 3))
            >>> penalty.begin_step()
            >>> penalty().item()
            0.0
        """
        for rule in self._activities:
            rule.forget()

    def _total(self) -> Tensor:
        values = [*(rule() for rule in self._weights), *(rule() for rule in self._activities)]
        parts = [value for value in values if value is not None]
        if parts:
            return summed(parts)
        parameter = next(self.model.parameters(), None)
        return torch.zeros((), dtype=torch.float32, device=None if parameter is None else parameter.device)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.regularizer!r}, bound to {', '.join(self.names) or 'nothing'})"
