"""A regularizer bound to parameters, or to layers, of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regtorch.arguments import described
from regtorch.binding.activity import BoundActivity
from regtorch.binding.place_of_rule import check_model, place_of
from regtorch.binding.weights import BoundConcrete, BoundWeights
from regtorch.errors import SettingError
from regtorch.functional.scaled import scaled
from regtorch.functional.summed import summed
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.rule import Where


class WeightPenalty:
    """A regularizer bound to parameters of a model: calling it gives the penalty, to be added to the loss.

    The value is a real 0-dim tensor, float32 or wider, computed with autocast off. A parameter that two layers share
    counts once, also when it is tied or untied after binding, and a module that was replaced is looked up again. Only
    parameters that train count (``requires_grad``, asked each time: one that is thawed later counts
    from then on). A weight that is computed from parameters (``torch.nn.utils.parametrize``, weight norm, pruning) counts
    as the layer computes with it. Inside ``torch.func`` (``functional_call``, ``vmap``, ``grad``, ``jvp``, ``jacfwd``,
    ``hessian``) value and derivative are those outside.

    An `Activity` regularizer is bound to layers instead. Its penalty is that of the layers' outputs produced for this
    step, whether the model's own ``forward`` or parts of it are called, and two passes through a layer count twice.

    - A step ends with a backward pass through an output that frees its graph, or with an optimizer's step: the next
      output of a layer then begins a new one. Reading the value ends nothing, so that it may be read any number of times.
    - Passes in eval mode or without gradients add nothing, and neither does recomputation under activation
      checkpointing. In eval mode, and before any training pass, the value is that of the last such pass.
    - `begin_step` forgets outputs that no backward pass will follow.

    Of sharded parameters (DTensors, as ``fully_shard`` makes them) the value is that of the full tensors, a plain tensor
    and the same on every process, and each process gets the gradient of its shards: the penalty counts once. It costs
    one reduction of a number for each rule; `Orthogonal`, `Spectral`, rules of one's own and, of those by unit, grouped
    transposed convolutions gather the shards, once a rule.

    Args:
        model: any module.
        regularizer: a `Regularizer`; `SeveralRegularizers` binds each of its rules to its own place.
        where: which parameters: ``"kernel"``, ``"bias"``, ``"all"``, a glob, ``"kernel:<glob>"`` or a callable
            ``(module, name, parameter) -> bool``. Default: the regularizer's own `where`, else ``"kernel"``.

    Raises:
        NothingBoundError: the rule is bound to nothing; the parameter names are listed.

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
        #: multiplies the penalty; what a schedule changes
        self.factor = 1.0
        self._weights: list[BoundWeights] = []
        self._activities: list[BoundActivity] = []
        for rule in regularizer.parts():
            place = place_of(rule, regularizer, where)
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
        """The modules that have the bound parameters, and the bound layers with the model they belong to."""
        of_weights = [module for rule in self._weights for module in rule.modules]
        of_activities = [layer for rule in self._activities for layer in (self.model, *rule.modules)]
        return of_weights + of_activities

    @property
    def of_activities(self) -> bool:
        """Whether the penalty depends on layers' outputs, not on the weights alone."""
        return bool(self._activities)

    def __call__(self) -> Tensor:
        """The penalty now.

        Raises:
            SettingError: a bound weight is a lazy layer's that has not run yet; the rule gives a complex number; an
                activity penalty that cannot be had: see `Activity`.
        """
        return self._total() if self.factor == 1.0 else scaled(self._total(), self.factor)

    def activity_part(self) -> Tensor | None:
        """The part of the penalty that is of layers' outputs; None if there is none.

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
        """Forget the layers' outputs so far: those that come now belong to a new step.

        A backward pass and an optimizer's step end a step without it. Call it after training-mode passes that no
        backward pass follows, such as a pass that only finds out a shape, or those of a batch that is left out.

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
