"""Rules bound to the parameters of a model: `WeightPenalty` and `WeightConstraint`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from regtorch.after_step import after_step
from regtorch.concrete_pairs import Use, dropouts_before
from regtorch.constraints.base import Constraint
from regtorch.errors import NothingBoundError, SettingError
from regtorch.functional.sharded import as_plain, is_sharded, local_shard, shard_of, wholes
from regtorch.parametrized import can_be_set
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.rule import Rule, Where
from regtorch.selection import Place, reshard, select, select_layers, trained_parameters, units_first


def _place(rule: Rule, whole: Rule, where: Where | None) -> Where:
    """Where a rule is bound: the binding's place comes before its own, but a rule of several keeps its own."""
    order = (where, rule.where) if rule is whole else (rule.where, where, whole.where)
    return next((place for place in order if place is not None), "kernel")


def _said(value: object) -> str:
    """A value in one line: a model by its class."""
    return f"a {type(value).__name__}" if isinstance(value, nn.Module) else str(value)


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise SettingError(f"a {type(model).__name__} has no parameters to bind a rule to: give the model itself")


class WeightPenalty:
    """A regularizer bound to parameters of a model: calling it gives the penalty, to be added to the loss.

    The value is a 0-dim tensor, float32 or wider, computed with autocast off. A parameter that two layers share
    counts once, and only parameters that train count (``requires_grad``, asked each time: one that is thawed later counts
    from then on). A weight that is computed from parameters (``torch.nn.utils.parametrize``, weight norm, pruning) counts
    as the layer computes with it. An `Activity` regularizer is bound to
    layers instead, and adds what their outputs cost in the model's last forward pass.

    Of sharded parameters (DTensors, as ``fully_shard`` makes them) the value is that of the whole tensors, a plain tensor
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
                f"regularizer={_said(regularizer)} is not allowed: it must be a Regularizer, e.g. regtorch.L2(1e-4)"
            )
        _check_model(model)
        self.model = model
        self.regularizer = regularizer
        #: multiplies the penalty; what a schedule changes
        self.factor = 1.0
        self._weights: list[_BoundWeights] = []
        self._activities: list[_BoundActivity] = []
        for rule in regularizer.parts():
            place = _place(rule, regularizer, where)
            if isinstance(rule, Activity):
                self._activities.append(_BoundActivity(model, rule, place))
            elif isinstance(rule, Concrete):
                self._weights.append(_BoundConcrete(model, rule, select(model, place)))
            else:
                self._weights.append(_BoundWeights(model, rule, select(model, place)))

    @property
    def names(self) -> list[str]:
        """The names of the bound parameters and layers."""
        bound = [name for rule in self._weights for name in rule.names]
        return bound + [name for rule in self._activities for name in rule.names]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that have the bound parameters, and the bound layers with the model whose passes they are read in."""
        of_weights = [place.module for rule in self._weights for place in rule.bound_places]
        of_activities = [layer for rule in self._activities for layer in (self.model, *rule.modules)]
        return of_weights + of_activities

    @property
    def of_activities(self) -> bool:
        """Whether the penalty depends on the last forward pass, not on the weights alone."""
        return bool(self._activities)

    def __call__(self) -> Tensor:
        """The penalty now."""
        return self._total() if self.factor == 1.0 else self._total() * self.factor

    def activity_part(self) -> Tensor | None:
        """The part of the penalty that layers' outputs in the last forward pass have; None if there is none.

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
        return torch.stack([part.to(parts[0].device) for part in parts]).sum() * self.factor if parts else None

    def _total(self) -> Tensor:
        values = [*(rule() for rule in self._weights), *(rule() for rule in self._activities)]
        parts = [value for value in values if value is not None]
        if len(parts) == 1:
            return parts[0]
        if parts:
            return torch.stack([part.to(parts[0].device) for part in parts]).sum()
        parameter = next(self.model.parameters(), None)
        return torch.zeros((), dtype=torch.float32, device=None if parameter is None else parameter.device)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.regularizer!r}, bound to {', '.join(self.names) or 'nothing'})"


class _BoundWeights:
    """One regularizer and the parameters it is bound to."""

    def __init__(self, model: nn.Module, regularizer: Regularizer, places: list[Place]) -> None:
        self.model = model
        self.regularizer = regularizer
        self.places = places

    @property
    def bound_places(self) -> list[Place]:
        """Where all its parameters are."""
        return self.places

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return [place.name for place in self.places]

    def __call__(self) -> Tensor | None:
        trained = trained_parameters(self.model)
        weights: list[Tensor] = []
        groups: list[int | None] = []
        for place in self.places:
            w = trained.get((id(place.module), place.attribute), place.parameter)
            if w.requires_grad:
                weights.append(w)
                groups.append(place.groups if self.regularizer.by_unit else None)
        return as_plain(self.regularizer.total(_turned(weights, groups))) if weights else None


class _BoundConcrete(_BoundWeights):
    """`Concrete` and the kernels it is bound to: those behind a `ConcreteDropout`, and the others."""

    regularizer: Concrete

    def __init__(self, model: nn.Module, regularizer: Concrete, places: list[Place]) -> None:
        found = dropouts_before(model)
        behind = {id(place): found.get((id(place.module), place.attribute), []) for place in places}
        super().__init__(model, regularizer, [place for place in places if not behind[id(place)]])
        self.pairs = [(place, behind[id(place)]) for place in places if behind[id(place)]]

    @property
    def bound_places(self) -> list[Place]:
        """Where all its kernels are."""
        return self.places + [place for place, _ in self.pairs]

    @property
    def names(self) -> list[str]:
        """The names of the kernels, each with those of the dropouts in front of it."""
        pairs = [f"{place.name} behind {', '.join(use.name for use in uses)}" for place, uses in self.pairs]
        return super().names + pairs

    def __call__(self) -> Tensor | None:
        trained = trained_parameters(self.model)
        held = [trained.get((id(place.module), place.attribute), place.parameter) for place, _ in self.pairs]
        logits = wholes(
            *(trained.get((id(use.dropout), "logit"), use.dropout.logit) for _, uses in self.pairs for use in uses)
        )
        parts = [super().__call__()]
        counted: set[int] = set()
        for w, (place, uses) in zip(held, self.pairs, strict=True):
            mine, logits = logits[: len(uses)], logits[len(uses) :]
            # a mask that several layers share has its entropy once
            units = [0 if id(use) in counted else _units(use, _inputs(place, w), w) for use in uses]
            counted |= {id(use) for use in uses}
            if w.requires_grad or any(logit.requires_grad for logit in mine):
                parts.append(as_plain(self.regularizer.behind(w, mine, units)))
        costs = [part for part in parts if part is not None]
        return torch.stack([cost.to(costs[0].device) for cost in costs]).sum() if costs else None


def _units(use: Use, inputs: int, w: Tensor) -> int:
    """What a dropout draws for: inputs of the layer behind it, or whole maps that are laid flat before they come there."""
    flat = w.ndim == 2 and use.maps is not None and inputs % use.maps == 0
    return use.maps if flat and use.maps is not None else inputs


def _inputs(place: Place, w: Tensor) -> int:
    """The inputs, or input channels, of the layer with this kernel."""
    return len(w) if place.groups else w.shape[1] * getattr(place.module, "groups", 1)


def _turned(weights: Sequence[Tensor], groups: Sequence[int | None]) -> list[Tensor]:
    """The weights with their units first; sharded kernels with several groups are gathered for it, all at once."""
    results = list(weights)
    grouped = [i for i, w in enumerate(weights) if is_sharded(w) and (groups[i] or 1) > 1]
    for i, whole in zip(grouped, wholes(*(weights[i] for i in grouped)), strict=True):
        results[i] = whole
    for i, of_kernel in enumerate(groups):
        if of_kernel is not None:
            w = results[i]
            results[i] = w.transpose(0, 1) if is_sharded(w) else units_first(w, of_kernel)
    return results


class _BoundActivity:
    """One activity regularizer and the layers whose outputs it reads, by forward hooks."""

    def __init__(self, model: nn.Module, regularizer: Activity, where: Where) -> None:
        self.regularizer = regularizer
        layers = select_layers(model, where)
        self.names = [name for name, _ in layers]
        self.modules = [layer for _, layer in layers]
        self.values: list[Tensor] = []
        model.register_forward_pre_hook(self._clear)
        for _, layer in layers:
            layer.register_forward_hook(self._collect)

    def _clear(self, model: nn.Module, args: Any) -> None:
        self.values = []

    def _collect(self, layer: nn.Module, args: Any, output: Tensor) -> None:
        self.values.append(self.regularizer(output))

    def __call__(self) -> Tensor | None:
        return torch.stack(self.values).sum() if self.values else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "values": []}  # a graph can be neither copied nor pickled


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
                f"constraint={_said(constraint)} is not allowed: it must be a Constraint, e.g. "
                "regtorch.MaxNorm(max_value=2.0)"
            )
        _check_model(model)
        self.model = model
        self.constraint = constraint
        self._bound: list[tuple[Constraint, list[Place]]] = []
        for rule in constraint.parts():
            places = select(model, _place(rule, constraint, where))
            for place in places:
                if place.is_computed and not can_be_set(place.module, place.attribute):
                    raise SettingError(
                        f"{rule} cannot be bound to {place.name}, which is computed from other parameters and cannot be set: "
                        "give its parametrization a right_inverse, or bind the rule to those parameters by their names"
                    )
            self._bound.append((rule, places))

    @property
    def names(self) -> list[str]:
        """The names of the bound parameters."""
        return [place.name for _, places in self._bound for place in places]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that have the bound parameters."""
        return [place.module for _, places in self._bound for place in places]

    @torch.no_grad()
    def project(self, step_size: float = 1.0) -> None:
        """Constrain every bound parameter that trains.

        Args:
            step_size: what `SoftThreshold` multiplies its strength with; others ignore it.
        """
        reshard(self.model)
        for rule, places in self._bound:
            _project(rule, [(place, step_size) for place in places])

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
        training = [w for _, places in self._bound for place in places for w in place.held if w.requires_grad]
        if training and not any(id(w) in held for w in training):
            raise NothingBoundError(f"the optimizer holds none of the constrained parameters: {', '.join(self.names)}")
        return after_step(optimizer, self.after_step)

    @torch.no_grad()
    def after_step(self, optimizer: Optimizer) -> None:
        """Constrain those bound parameters that the optimizer holds; what `attach` calls after each step."""
        reshard(self.model)
        step_sizes = {id(w): group["lr"] for group in optimizer.param_groups for w in group["params"]}
        for rule, places in self._bound:
            held = [
                (place, next((step_sizes[id(w)] for w in place.held if id(w) in step_sizes), None)) for place in places
            ]
            _project(rule, [(place, float(step_size)) for place, step_size in held if step_size is not None])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.constraint!r}, bound to {', '.join(self.names) or 'nothing'})"


def _project(rule: Constraint, steps: list[tuple[Place, float]]) -> None:
    """Constrain the parameters at some places, each after a step of its own size."""
    sharded: list[tuple[Place, float]] = []
    for place, step_size in steps:
        if not any(w.requires_grad for w in place.held):
            continue
        w = place.parameter
        if place.is_computed:
            _project_computed(rule, place, w, step_size)
        elif is_sharded(w):
            sharded.append((place, step_size))
        elif groups := _turned_groups(rule, place):
            turned = units_first(w, groups)
            rule.project_(turned, step_size)
            w.copy_(units_first(turned, groups))
        else:
            rule.project_(w, step_size)
    if sharded:
        _project_shards(rule, sharded)


def _project_computed(rule: Constraint, place: Place, w: Tensor, step_size: float) -> None:
    """Constrain a weight that is computed from parameters, by assigning to it; one that is inside is left alone."""
    groups = _turned_groups(rule, place)
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


def _turned_groups(rule: Constraint, place: Place) -> int | None:
    """The groups of a transposed convolution whose kernel the rule reads units first, else None."""
    return place.groups if rule.by_unit and rule.dims is None else None


def _project_shards(rule: Constraint, steps: list[tuple[Place, float]]) -> None:
    """All at once, so that the rule may exchange at once what it needs."""
    held = [place.parameter for place, _ in steps]
    groups = [_turned_groups(rule, place) for place, _ in steps]
    turned = _turned(held, groups)
    rule.project_all_(turned, [step_size for _, step_size in steps])
    for w, of_kernel, result in zip(held, groups, turned, strict=True):
        if of_kernel is not None and not is_sharded(result):  # a whole copy, not a view of the shard
            local_shard(w).copy_(shard_of(units_first(result, of_kernel), w))
