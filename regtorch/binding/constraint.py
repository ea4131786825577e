"""A constraint bound to parameters of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.binding.after_step import after_step
from regtorch.binding.arguments import check_model, resolve_where
from regtorch.binding.parametrized import can_be_set
from regtorch.binding.places import Bound, BoundPlaces
from regtorch.binding.selection import Place, reshard, units_first
from regtorch.binding.weights import all_units_first
from regtorch.constraints.base import Constraint
from regtorch.errors import NothingBoundError, SettingError
from regtorch.rule import Where
from regtorch.tensor_ops.arguments import described
from regtorch.tensor_ops.sharded import is_sharded, local_shard, shard_of


class WeightConstraint:
    """A constraint bound to parameters of a model, applied by hand or after each step of an optimizer.

    Each parameter that trains is changed in place, without gradient; frozen ones are not changed. A weight with a
    ``torch.nn.utils.parametrize`` parametrization is constrained as the layer uses it, by assignment (which needs a
    ``right_inverse``), and only if it violates the constraint. The unit of a transposed convolution, grouped or not, is
    the output channel, unless the constraint sets other `dims`.

    Args:
        model: any module.
        constraint: a `Constraint`; `SeveralConstraints` binds each of its rules to its own place.
        where: which parameters to bind, as for `WeightPenalty`.

    Raises:
        NothingBoundError: `where` matches no parameter; the message lists the parameter names.

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
            bound = BoundPlaces(model, rule, resolve_where(rule, constraint, where), rule.project_)
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
        """The modules with the bound parameters."""
        return [module for _, bound in self._bound for module in bound.modules]

    @torch.no_grad()
    def project(self, step_size: float = 1.0) -> None:
        """Constrain every bound parameter that trains.

        Args:
            step_size: multiplies the strength of `SoftThreshold`; other constraints ignore it.
        """
        reshard(self.model)
        for rule, bound in self._bound:
            _project(rule, [(each, step_size) for each in bound.ready()])

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Constrain the bound parameters that the optimizer holds after each of its real steps.

        The step size of `SoftThreshold` is the learning rate of the parameter's group. After steps that a ``GradScaler``
        skips, nothing is constrained.

        Returns:
            A handle; ``handle.remove()`` detaches the constraint.

        Raises:
            NothingBoundError: the optimizer holds none of the bound parameters.
            SettingError: the argument is not an optimizer.
        """
        if not isinstance(optimizer, Optimizer):
            raise SettingError(
                f"attach({type(optimizer).__name__}) is not allowed: it must be a torch.optim.Optimizer; project() "
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
        """Constrain the bound parameters that the optimizer holds; `attach` calls this after each step."""
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
    """Constrain parameters, each with its own step size."""
    sharded: list[tuple[Bound, float]] = []
    for bound, step_size in steps:
        w = bound.weight
        if w is None:
            _project_computed(rule, bound.place, bound.place.parameter, step_size)
        elif is_sharded(w):
            sharded.append((bound, step_size))
        elif groups := _groups_to_permute(rule, bound.groups):
            turned = units_first(w, groups)
            rule.project_(turned, step_size)
            w.copy_(units_first(turned, groups))
        else:
            rule.project_(w, step_size)
    if sharded:
        _project_shards(rule, sharded)


def _project_computed(rule: Constraint, place: Place, w: Tensor, step_size: float) -> None:
    """Constrain a computed weight by assignment, unless it satisfies the constraint already."""
    groups = _groups_to_permute(rule, place.groups)
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
            f"{rule} cannot be enforced for {place.name}: {why} returns another value than the one assigned; "
            "bind the rule to the original parameters, where='*.original*'"
        )


def _groups_to_permute(rule: Constraint, groups: int | None) -> int | None:
    """The groups of a transposed convolution if the rule needs its kernel with units first, else None."""
    return groups if rule.by_unit and rule.dims is None else None


def _project_shards(rule: Constraint, steps: list[tuple[Bound, float]]) -> None:
    """Constrain all sharded weights together, so that the rule can communicate once."""
    held = [bound.place.parameter for bound, _ in steps]
    groups = [_groups_to_permute(rule, bound.groups) for bound, _ in steps]
    units = all_units_first(held, groups)
    rule.project_all_(units, [step_size for _, step_size in steps])
    for w, of_kernel, result in zip(held, groups, units, strict=True):
        if of_kernel is not None and not is_sharded(result):  # a full copy, not a view of the shard
            local_shard(w).copy_(shard_of(units_first(result, of_kernel), w))
