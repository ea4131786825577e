"""The current parameters of a bound rule: shared ones once, replaced ones looked up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.binding.links import Links
from regtorch.binding.selection import Place, matching
from regtorch.errors import SettingError, as_one_line
from regtorch.rule import Rule, Where


@dataclass(frozen=True)
class Bound:
    """A bound parameter at its first place.

    Args:
        place: its place.
        weight: the parameter, or the tensor that replaces it in a ``functional_call``; None for a weight that is computed
            from parameters.
        stands_for: the parameter that was last seen at this place.
        groups: `Place.groups`, which does not change.
    """

    place: Place
    weight: Tensor | None
    stands_for: Tensor | None
    groups: int | None

    @property
    def trains(self) -> bool:
        """Whether the parameter trains: ``requires_grad``, read at each call.

        A tensor that replaces a parameter, as in ``functional_call`` and under ``torch.func``, has ``requires_grad=False``;
        it trains if the parameter does.
        """
        if self.weight is None:
            return any(w.requires_grad or not isinstance(w, nn.Parameter) for w in self.place.held)
        if self.weight.requires_grad:
            return True
        if isinstance(self.weight, nn.Parameter):
            return False
        return self.stands_for is None or self.stands_for.requires_grad


class BoundPlaces:
    """All places of a model that `where` selects, and their current parameters.

    Args:
        model: any module.
        rule: the bound rule, for messages.
        where: as for `regtorch.binding.selection.select`.
        probe: applies the rule to a tensor; tried once on each complex weight.

    Raises:
        NothingBoundError: `where` matches nothing.
        SettingError: a weight is complex, and the rule does not support it.
    """

    def __init__(self, model: nn.Module, rule: Rule, where: Where, probe: Callable[[Tensor], Any]) -> None:
        self.model = model
        self.rule = rule
        self.where = where
        self._probe = probe
        self._lazy = False
        #: number of searches for the places
        self.selection = 0
        self._select()

    @property
    def names(self) -> list[str]:
        """The names of the parameters; for a shared one its first name."""
        return [bound.place.name for bound in self.now()]

    @property
    def modules(self) -> list[nn.Module]:
        """The modules with the parameters."""
        return [place.module for place in self.places]

    def now(self) -> list[Bound]:
        """The current bound parameters; a shared one once, even if it became shared after binding.

        Raises:
            NothingBoundError: a bound module was replaced, and `where` no longer matches anything.
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
            SettingError: one of them belongs to a lazy layer that has not run yet.
        """
        training = [
            bound for bound in self.now() if (bound.weight is not None and bound.weight.requires_grad) or bound.trains
        ]
        if self._lazy:
            for bound in training:
                if bound.weight is not None and is_lazy(bound.weight):
                    raise SettingError(
                        f"{type(self.rule).__name__} is not possible yet for {bound.place.name}, a lazy layer's weight "
                        "without a shape: run the model's first forward pass before that"
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
        """Keep the places if their modules are merely wrapped in others, else search again."""
        names = self._links.wrapped()
        if names is None:
            self._select()
        else:
            self._links = Links(self.model, names)

    def _resolved(self, current: list[Any]) -> list[Bound]:
        """Resolve each parameter to its first place; cached for `now` until a parameter is replaced."""
        found: dict[Any, Bound] = {}
        for i, (place, w) in enumerate(zip(self.places, current, strict=True)):
            if isinstance(w, nn.Parameter):
                self._seen[i] = w
            key = id(w) if w is not None else tuple(map(id, place.held))
            if key and key not in found:  # a removed bias holds no parameters
                found[key] = Bound(place, w, self._seen[i], self._groups[i])
        bound = list(found.values())
        if all(w is seen and w is not None for w, seen in zip(current, self._seen, strict=True)):
            self._bound = bound
            self._lazy = any(map(is_lazy, current))
        return bound

    def _refuse_complex(self, place: Place) -> None:
        """Try the rule on a copy of a complex weight, so that an error occurs before training."""
        with torch.no_grad():
            w = place.parameter
            if is_lazy(w) or not w.is_complex():
                return
            try:
                result = self._probe(torch.ones_like(w))
                reason = "it returns a complex number" if isinstance(result, Tensor) and result.is_complex() else None
            except Exception as error:  # rules may use operations that complex numbers do not have
                reason = as_one_line(error)[:200]
        if reason is not None:
            raise SettingError(
                f"{type(self.rule).__name__} is not possible for {place.name}, whose weights are complex: {reason}; "
                "bind it to other weights with where="
            )
