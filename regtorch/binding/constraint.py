"""A constraint bound to parameters of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.after_step import after_step
from regtorch.arguments import described
from regtorch.binding.place_of_rule import check_model, place_of
from regtorch.binding.places import Bound, BoundPlaces
from regtorch.binding.weights import turned
from regtorch.constraints.base import Constraint
from regtorch.errors import NothingBoundError, SettingError
from regtorch.functional.sharded import is_sharded, local_shard, shard_of
from regtorch.parametrized import can_be_set
from regtorch.rule import Where
from regtorch.selection import Place, reshard, units_first


class WeightConstraint:
    """A constraint bound to parameters of a model, applied by hand or after each step of an optimizer.

    Each parameter that trains is changed in place, without gradient; frozen ones are left alone while they are. A weight
    with a ``torch.nn.utils.parametrize`` parametrization is constrained as the layer computes with it, by assigning to it
    (which needs a ``right_inverse``), and only when it is outside. Of a transposed convolution the unit is the output
    channel, grouped or not, unless the constraint's `dims` say otherwise.

    Args:
        model: any module.
        constraint: a `Constraint`; `SeveralConstraints` binds each of its rules to its own place.
        where: which parameters, as for `WeightPenalty`.

    Raises:
        NothingBoundError: the rule is bound to nothing; the parameter names are listed.

    Example:
        >>> import regtorch
        >>> layer = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(layer.weight, 3.0)
        >>> WeightConstraint(layer, regtorch.MaxNorm(max_value=1.0)).project()
        >>> layer.weight.data
        tensor([[0.7071, 0.7071]])
    """

    def __init__(self, model: nn.Module, constraint: Constraint, where: Where | None = None) -> None:
        if not isinstance(constraint, Constraint):
            raise SettingError(
                f"constraint={described(constraint)} is not allowed: it must be a Constraint, e.g. "
                "regtorch.MaxNorm(max_value=2.0)"
            )
        check_model(model)
        self.model = model
        self.constraint = constraint
        self._bound: list[tuple[Constraint, BoundPlaces]] = []
        for rule in constraint.parts():
            bound = BoundPlaces(model, rule, place_of(rule, constraint, where), rule.project_)
            for place in bound.places:
                if place.is_computed and not can_be_set(place.module, place.attribute):
                    raise SettingError(
                        f"{rule} cannot be bound to {place.name}, which is computed from other parameters and cannot be set: "
                        "give its parametrization a right_inverse, or bind the rule to those parameters by their names"
                    )
            self._bound.append((rule, bound))

    @property
    def names(self) -> list[str]:
        """The names of the bound parameters."""
        return [name for _, bound in self._bound for name in bound.names]

    @property
    def bound(self) -> list[tuple[Constraint, list[str]]]:
        """Each rule, and the names of the parameters that it is bound to."""
        return [(rule, list(bound.names)) for rule, bound in self._bound]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that have the bound parameters."""
        return [module for _, bound in self._bound for module in bound.modules]

    @torch.no_grad()
    def project(self, step_size: float = 1.0) -> None:
        """Constrain every bound parameter that trains.

        Args:
            step_size: what `SoftThreshold` multiplies its strength with; others ignore it.
        """
        reshard(self.model)
        for rule, bound in self._bound:
            _project(rule, [(each, step_size) for each in bound.ready()])

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Constrain, after each real step of the optimizer, those bound parameters that it holds.

        `SoftThreshold`'s step size is the learning rate of the parameter's group. Steps that a ``GradScaler`` skips
        change nothing.

        Returns:
            A handle whose ``remove()`` detaches it.

        Raises:
            NothingBoundError: the optimizer holds none of the bound parameters.
            SettingError: it is no optimizer.
        """
        if not isinstance(optimizer, Optimizer):
            raise SettingError(
                f"attach({type(optimizer).__name__}) is not allowed: it must be an optimizer of torch.optim's kind; project() "
                "constrains by hand"
            )
        reshard(self.model)
        held = {id(w) for group in optimizer.param_groups for w in group["params"]}
        training = [w for _, bound in self._bound for each in bound.now() for w in each.place.held if w.requires_grad]
        if training and not any(id(w) in held for w in training):
            raise NothingBoundError(f"the optimizer holds none of the constrained parameters: {', '.join(self.names)}")
        return after_step(optimizer, self.after_step)

    @torch.no_grad()
    def after_step(self, optimizer: Optimizer) -> None:
        """Constrain those bound parameters that the optimizer holds; what `attach` calls after each step."""
        reshard(self.model)
        step_sizes = {id(w): group["lr"] for group in optimizer.param_groups for w in group["params"]}
        for rule, bound in self._bound:
            held = [
                (each, next((step_sizes[id(w)] for w in each.place.held if id(w) in step_sizes), None))
                for each in bound.ready()
            ]
            _project(rule, [(each, float(step_size)) for each, step_size in held if step_size is not None])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.constraint!r}, bound to {', '.join(self.names) or 'nothing'})"


def _project(rule: Constraint, steps: list[tuple[Bound, float]]) -> None:
    """Constrain some parameters, each after a step of its own size."""
    sharded: list[tuple[Bound, float]] = []
    for bound, step_size in steps:
        w = bound.weight
        if w is None:
            _project_computed(rule, bound.place, bound.place.parameter, step_size)
        elif is_sharded(w):
            sharded.append((bound, step_size))
        elif groups := _turned_groups(rule, bound.groups):
            turned = units_first(w, groups)
            rule.project_(turned, step_size)
            w.copy_(units_first(turned, groups))
        else:
            rule.project_(w, step_size)
    if sharded:
        _project_shards(rule, sharded)


def _project_computed(rule: Constraint, place: Place, w: Tensor, step_size: float) -> None:
    """Constrain a weight that is computed from parameters, by assigning to it; one that is inside is left alone."""
    groups = _turned_groups(rule, place.groups)
    constrained = units_first(w, groups) if groups else w.clone()
    rule.project_(constrained, step_size)
    constrained = units_first(constrained, groups) if groups else constrained
    if torch.equal(constrained, w):
        return
    before = [original.clone() for original in place.held]
    setattr(place.module, place.attribute, constrained.clone())
    for original, value in zip(place.held, before, strict=True):
        if not original.requires_grad:
            original.copy_(value)
    if not torch.allclose(place.parameter, constrained, rtol=torch.finfo(w.dtype).eps ** 0.5, atol=1e-6):
        for original, value in zip(place.held, before, strict=True):
            original.copy_(value)
        frozen = sum(not original.requires_grad for original in place.held)
        why = (
            f"{frozen} of the parameters that it is computed from are frozen, and" if frozen else "its parametrization"
        )
        raise SettingError(
            f"{rule} cannot be kept by {place.name}: {why} gives another value than was assigned to it; "
            "bind the rule to what it is computed from, where='*.original*'"
        )


def _turned_groups(rule: Constraint, groups: int | None) -> int | None:
    """The groups of a transposed convolution whose kernel the rule reads units first, else None."""
    return groups if rule.by_unit and rule.dims is None else None


def _project_shards(rule: Constraint, steps: list[tuple[Bound, float]]) -> None:
    """All at once, so that the rule may exchange at once what it needs."""
    held = [bound.place.parameter for bound, _ in steps]
    groups = [_turned_groups(rule, bound.groups) for bound, _ in steps]
    units = turned(held, groups)
    rule.project_all_(units, [step_size for _, step_size in steps])
    for w, of_kernel, result in zip(held, groups, units, strict=True):
        if of_kernel is not None and not is_sharded(result):  # a full copy, not a view of the shard
            local_shard(w).copy_(shard_of(units_first(result, of_kernel), w))
