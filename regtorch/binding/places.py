"""The parameters that a rule is bound to, as they are now: shared ones once, replaced ones looked up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.binding.links import Links
from regtorch.errors import SettingError, as_one_line
from regtorch.rule import Rule, Where
from regtorch.selection import Place, matching


@dataclass(frozen=True)
class Bound:
    """A parameter that a rule is bound to, where it is found first.

    Args:
        place: where it is.
        weight: the parameter, or the tensor that stands in for it in a ``functional_call``; None where a weight is
            computed from parameters.
        stands_for: the parameter that was seen there last.
        groups: `Place.groups`, which does not change.
    """

    place: Place
    weight: Tensor | None
    stands_for: Tensor | None
    groups: int | None

    @property
    def trains(self) -> bool:
        """Whether it trains: ``requires_grad``, asked each time.

        A tensor that stands in for a parameter, as in ``functional_call`` and under ``torch.func``, says False there; it
        trains if the parameter does.
        """
        if self.weight is None:
            return any(w.requires_grad or not isinstance(w, nn.Parameter) for w in self.place.held)
        if self.weight.requires_grad:
            return True
        if isinstance(self.weight, nn.Parameter):
            return False
        return self.stands_for is None or self.stands_for.requires_grad


class BoundPlaces:
    """All places of a model that `where` means, and which parameters are there.

    Args:
        model: any module.
        rule: what is bound there, for messages.
        where: as for `regtorch.selection.select`.
        probe: computes the rule of a tensor; tried once on each complex weight.

    Raises:
        NothingBoundError: `where` matches nothing.
        SettingError: a weight is complex, and the rule does not take it.
    """

    def __init__(self, model: nn.Module, rule: Rule, where: Where, probe: Callable[[Tensor], Any]) -> None:
        self.model = model
        self.rule = rule
        self.where = where
        self._probe = probe
        self._lazy = False
        #: how many times the places were looked for
        self.selection = 0
        self._select()

    @property
    def names(self) -> list[str]:
        """The parameters' names, a shared one's first."""
        return [bound.place.name for bound in self.now()]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that have the parameters."""
        return [place.module for place in self.places]

    def now(self) -> list[Bound]:
        """The bound parameters, a shared one once, whenever it came to be shared.

        Raises:
            NothingBoundError: a bound module was replaced, and `where` matches nothing any longer.
        """
        if not torch.compiler.is_compiling() and self._links.broken:
            self._select_again()
        current = [place.module._parameters.get(place.attribute) for place in self.places]
        for w, seen in zip(current, self._seen, strict=True):
            if w is not seen or w is None:
                return self._resolved(current)
        return self._bound

    def ready(self) -> list[Bound]:
        """The bound parameters that train.

        Raises:
            SettingError: one of them is a lazy layer's that has not run yet.
        """
        training = [
            bound for bound in self.now() if (bound.weight is not None and bound.weight.requires_grad) or bound.trains
        ]
        if self._lazy:
            for bound in training:
                if bound.weight is not None and is_lazy(bound.weight):
                    raise SettingError(
                        f"{type(self.rule).__name__} is not possible yet for {bound.place.name}, a lazy layer's weight "
                        "without a shape: run the model's first forward pass before"
                    )
            self._lazy = any(w is not None and is_lazy(w) for w in self._seen)
        return training

    def _select(self) -> None:
        self.places = matching(self.model, self.where)
        self.selection += 1
        self._groups = [place.groups for place in self.places]
        self._links = Links(self.model, [place.name.rpartition(".")[0] for place in self.places])
        self._seen: list[Tensor | None] = [None] * len(self.places)
        self._bound: list[Bound] = []
        for bound in self.now():
            self._refuse_complex(bound.place)

    def _select_again(self) -> None:
        """Keep the places if their modules are merely wrapped in others, else look for them once more."""
        names = self._links.wrapped()
        if names is None:
            self._select()
        else:
            self._links = Links(self.model, names)

    def _resolved(self, current: list[Any]) -> list[Bound]:
        """Each parameter at its first place; `now` gives the same until another one is there."""
        found: dict[Any, Bound] = {}
        for i, (place, w) in enumerate(zip(self.places, current, strict=True)):
            if isinstance(w, nn.Parameter):
                self._seen[i] = w
            key = id(w) if w is not None else tuple(map(id, place.held))
            if key and key not in found:  # nothing is held where a bias was taken out
                found[key] = Bound(place, w, self._seen[i], self._groups[i])
        bound = list(found.values())
        if all(w is seen and w is not None for w, seen in zip(current, self._seen, strict=True)):
            self._bound = bound
            self._lazy = any(map(is_lazy, current))
        return bound

    def _refuse_complex(self, place: Place) -> None:
        """Try the rule on a copy of a complex weight: an error now is better than one in training."""
        with torch.no_grad():
            w = place.parameter
            if is_lazy(w) or not w.is_complex():
                return
            try:
                result = self._probe(torch.ones_like(w))
                reason = "it gives a complex number" if isinstance(result, Tensor) and result.is_complex() else None
            except Exception as error:  # whatever a rule does with numbers that have no order
                reason = as_one_line(error)[:200]
        if reason is not None:
            raise SettingError(
                f"{type(self.rule).__name__} is not possible for {place.name}, whose weights are complex: {reason}; "
                "bind it to other weights with where="
            )
