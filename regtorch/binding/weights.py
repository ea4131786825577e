"""Regularizers and the weights they are bound to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from regtorch.binding.places import Bound, BoundPlaces
from regtorch.concrete_pairs import Use, dropouts_before
from regtorch.errors import SettingError
from regtorch.functional.sharded import as_plain, is_sharded, wholes
from regtorch.functional.summed import summed
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.rule import Where
from regtorch.selection import Place, trained_parameters, units_first


class BoundWeights:
    """One regularizer and the parameters it is bound to."""

    def __init__(self, model: nn.Module, regularizer: Regularizer, where: Where) -> None:
        self.model = model
        self.regularizer = regularizer
        self.bound = BoundPlaces(model, regularizer, where, regularizer)

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that have the parameters."""
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
            tensors = turned(tensors, [bound.groups for bound, _ in weights])
        total = as_plain(self.regularizer.total(tensors))
        if total.is_complex():
            raise SettingError(
                f"{type(self.regularizer).__name__} gives a complex number for {', '.join(self.names)}: it must be real"
            )
        return total


class BoundConcrete(BoundWeights):
    """`Concrete` and the kernels it is bound to: those behind a `ConcreteDropout`, and the others."""

    regularizer: Concrete

    def __init__(self, model: nn.Module, regularizer: Concrete, where: Where) -> None:
        super().__init__(model, regularizer, where)
        self._look()

    def _look(self) -> None:
        self._selection = self.bound.selection
        uses = dropouts_before(self.model)
        self._in_front = [
            (m, name, uses[id(m), name]) for m, name in map(_key, self.bound.places) if (id(m), name) in uses
        ]

    def _now(self) -> list[tuple[Bound, list[Use]]]:
        """The bound kernels, each with the dropouts in front of it."""
        bound = self.bound.now()
        if self._selection != self.bound.selection:
            self._look()
        uses = {(id(module), attribute): found for module, attribute, found in self._in_front}
        return [(each, uses.get((id(each.place.module), each.place.attribute), [])) for each in bound]

    @property
    def names(self) -> list[str]:
        """The names of the kernels, each with those of the dropouts in front of it."""
        now = [(bound.place.name, ", ".join(use.name for use in uses)) for bound, uses in self._now()]
        alone = [name for name, dropouts in now if not dropouts]
        return alone + [f"{name} behind {dropouts}" for name, dropouts in now if dropouts]

    def __call__(self) -> Tensor | None:
        """The penalty of the kernels that train, or have a probability in front that does; None if there is none."""
        trained = trained_parameters(self.model)
        training = {id(bound.place) for bound in self.bound.ready()}
        now = [(bound, _weight(bound, trained), uses) for bound, uses in self._now()]
        parts = [self._total([(bound, w) for bound, w, uses in now if not uses and id(bound.place) in training])]
        pairs = [(bound, w, uses) for bound, w, uses in now if uses]
        logits = wholes(
            *(trained.get((id(use.dropout), "logit"), use.dropout.logit) for _, _, uses in pairs for use in uses)
        )
        counted: set[int] = set()
        for bound, w, uses in pairs:
            mine, logits = logits[: len(uses)], logits[len(uses) :]
            # a mask that several layers share has its entropy once
            units = [0 if id(use) in counted else _units(use, _inputs(bound.place, w), w) for use in uses]
            counted |= {id(use) for use in uses}
            if id(bound.place) in training or any(map(_trains, mine)):
                parts.append(as_plain(self.regularizer.behind(w, mine, units)))
        costs = [part for part in parts if part is not None]
        return summed(costs) if costs else None


def _key(place: Place) -> tuple[nn.Module, str]:
    return place.module, place.attribute


def _trains(logit: Tensor) -> bool:
    """Whether a probability is learned; a tensor that stands in for its parameter cannot tell, so it counts."""
    return logit.requires_grad or not isinstance(logit, nn.Parameter)


def _weight(bound: Bound, trained: dict[tuple[int, str], nn.Parameter]) -> Tensor:
    """What is computed with: the optimizer's parameter under ``fully_shard``, else the layer's weight."""
    if trained:
        return trained.get((id(bound.place.module), bound.place.attribute), bound.place.parameter)
    return bound.place.parameter if bound.weight is None else bound.weight


def _units(use: Use, inputs: int, w: Tensor) -> int:
    """What a dropout draws for: inputs of the layer behind it, or entire maps that are laid flat before they come there."""
    flat = w.ndim == 2 and use.maps is not None and inputs % use.maps == 0
    return use.maps if flat and use.maps is not None else inputs


def _inputs(place: Place, w: Tensor) -> int:
    """The inputs, or input channels, of the layer with this kernel."""
    return len(w) if place.groups else w.shape[1] * getattr(place.module, "groups", 1)


def turned(weights: Sequence[Tensor], groups: Sequence[int | None]) -> list[Tensor]:
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
