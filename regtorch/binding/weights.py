"""Regularizers bound to weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from regtorch.binding.concrete_pairs import Use, dropouts_before
from regtorch.binding.places import Bound, BoundPlaces
from regtorch.binding.selection import Place, trained_parameters, units_first
from regtorch.errors import SettingError
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.rule import Where
from regtorch.tensor_ops.sharded import as_plain, full_tensors, is_sharded
from regtorch.tensor_ops.summed import summed


class BoundWeights:
    """One regularizer and its bound parameters."""

    def __init__(self, model: nn.Module, regularizer: Regularizer, where: Where) -> None:
        self.model = model
        self.regularizer = regularizer
        self.bound = BoundPlaces(model, regularizer, where, regularizer)

    @property
    def modules(self) -> list[nn.Module]:
        """The modules with the parameters."""
        return self.bound.modules

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return self.bound.names

    def __call__(self) -> Tensor | None:
        """The penalty of the parameters that train; None if none does."""
        trained = trained_parameters(self.model)
        return self._total([(bound, _weight(bound, trained)) for bound in self.bound.ready()])

    def _total(self, weights: Sequence[tuple[Bound, Tensor]]) -> Tensor | None:
        if not weights:
            return None
        tensors = [w for _, w in weights]
        if self.regularizer.by_unit:
            tensors = all_units_first(tensors, [bound.groups for bound, _ in weights])
        total = as_plain(self.regularizer.total(tensors))
        if total.is_complex():
            raise SettingError(
                f"{type(self.regularizer).__name__} returns a complex number for {', '.join(self.names)}: it must be real"
            )
        return total


class BoundConcrete(BoundWeights):
    """`Concrete` and its bound kernels: those after a `ConcreteDropout`, and the others."""

    regularizer: Concrete

    def __init__(self, model: nn.Module, regularizer: Concrete, where: Where) -> None:
        super().__init__(model, regularizer, where)
        self._find_preceding()

    def _find_preceding(self) -> None:
        self._selection = self.bound.selection
        uses = dropouts_before(self.model)
        self._preceding = [
            (m, name, uses[id(m), name]) for m, name in map(_key, self.bound.places) if (id(m), name) in uses
        ]

    def _now(self) -> list[tuple[Bound, list[Use]]]:
        """The bound kernels, each with the preceding dropouts."""
        bound = self.bound.now()
        if self._selection != self.bound.selection:
            self._find_preceding()
        uses = {(id(module), attribute): found for module, attribute, found in self._preceding}
        return [(each, uses.get((id(each.place.module), each.place.attribute), [])) for each in bound]

    @property
    def names(self) -> list[str]:
        """The names of the kernels, each with the names of the preceding dropouts."""
        now = [(bound.place.name, ", ".join(use.name for use in uses)) for bound, uses in self._now()]
        alone = [name for name, dropouts in now if not dropouts]
        return alone + [f"{name} after {dropouts}" for name, dropouts in now if dropouts]

    def __call__(self) -> Tensor | None:
        """The penalty of the kernels that train or follow a dropout that trains; None if there are none."""
        trained = trained_parameters(self.model)
        training = {id(bound.place) for bound in self.bound.ready()}
        now = [(bound, _weight(bound, trained), uses) for bound, uses in self._now()]
        parts = [self._total([(bound, w) for bound, w, uses in now if not uses and id(bound.place) in training])]
        pairs = [(bound, w, uses) for bound, w, uses in now if uses]
        logits = full_tensors(
            *(trained.get((id(use.dropout), "logit"), use.dropout.logit) for _, _, uses in pairs for use in uses)
        )
        counted: set[int] = set()
        for bound, w, uses in pairs:
            mine, logits = logits[: len(uses)], logits[len(uses) :]
            # the entropy of a mask that several layers share counts once
            units = [0 if id(use) in counted else _units(use, _inputs(bound.place, w), w) for use in uses]
            counted |= {id(use) for use in uses}
            if id(bound.place) in training or any(map(_trains, mine)):
                parts.append(as_plain(self.regularizer.penalty_after_dropouts(w, mine, units)))
        costs = [part for part in parts if part is not None]
        return summed(costs) if costs else None


def _key(place: Place) -> tuple[nn.Module, str]:
    return place.module, place.attribute


def _trains(logit: Tensor) -> bool:
    """Whether a probability trains; it is unknown for a tensor that replaces its parameter, so that counts."""
    return logit.requires_grad or not isinstance(logit, nn.Parameter)


def _weight(bound: Bound, trained: dict[tuple[int, str], nn.Parameter]) -> Tensor:
    """The tensor to compute with: the optimizer's parameter under ``fully_shard``, else the layer's weight."""
    if trained:
        return trained.get((id(bound.place.module), bound.place.attribute), bound.place.parameter)
    return bound.place.parameter if bound.weight is None else bound.weight


def _units(use: Use, inputs: int, w: Tensor) -> int:
    """Number of units of a dropout: inputs of the next layer, or feature maps if they are flattened before it."""
    flat = w.ndim == 2 and use.maps is not None and inputs % use.maps == 0
    return use.maps if flat and use.maps is not None else inputs


def _inputs(place: Place, w: Tensor) -> int:
    """Number of inputs, or of input channels, of the layer with this kernel."""
    return len(w) if place.groups else w.shape[1] * getattr(place.module, "groups", 1)


def all_units_first(weights: Sequence[Tensor], groups: Sequence[int | None]) -> list[Tensor]:
    """The weights with units first; sharded kernels with several groups are gathered together for this."""
    results = list(weights)
    grouped = [i for i, w in enumerate(weights) if is_sharded(w) and (groups[i] or 1) > 1]
    for i, full in zip(grouped, full_tensors(*(weights[i] for i in grouped)), strict=True):
        results[i] = full
    for i, of_kernel in enumerate(groups):
        if of_kernel is not None:
            w = results[i]
            results[i] = w.transpose(0, 1) if is_sharded(w) else units_first(w, of_kernel)
    return results
