"""The base of constraints on the norms of units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from regtorch.constraints.base import Constraint
from regtorch.functional.unit_norms import norm_dims, norms_of_all


class NormConstraint(Constraint):
    """A constraint that scales each unit depending on its norm. Subclass it and write `rescaled`."""

    by_unit: ClassVar[bool] = True

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The constrained tensor, written to `out` if given; `norms` are the norms of its units, if already known."""
        raise TypeError(f"{type(self).__qualname__} must define rescaled(w, out, norms)")

    def forward(self, w: Tensor) -> Tensor:
        """The constrained tensor."""
        return self.rescaled(w)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Constrain the tensor in place."""
        self.rescaled(w, out=w)

    def project_all_(self, weights: Sequence[Tensor], step_sizes: Sequence[float]) -> None:
        """Constrain several tensors in place, with one reduction for all weights whose units are sharded."""
        norms = norms_of_all(weights, [norm_dims(w, self.dims) for w in weights])
        for w, of_units in zip(weights, norms, strict=True):
            self.rescaled(w, out=w, norms=of_units)
