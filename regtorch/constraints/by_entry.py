"""The base of elementwise constraints."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.constraints.base import Constraint


class EntryConstraint(Constraint):
    """A constraint that treats each entry independently, so that shards need no communication.

    Subclass it and write `forward` and `project_`, with functions that support shards.
    """

    def project_all_(self, weights: Sequence[Tensor], step_sizes: Sequence[float]) -> None:
        """Constrain several tensors in place; each rank constrains its shards."""
        for w, step_size in zip(weights, step_sizes, strict=True):
            self.project_(w, step_size)
