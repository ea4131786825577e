"""The base of all constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from regtorch.errors import SettingError
from regtorch.rule import Rule
from regtorch.tensor_ops.sharded import full_tensors, is_sharded, local_shard, shard_of
from regtorch.tensor_ops.unit_norms import norm_dims, norms_of_all


class Constraint(Rule):
    """A function of one tensor that moves it onto, or towards, a set. Subclass it and write `forward(w)`.

    Example:
        >>> import torch, regtorch
        >>> class Box(regtorch.Constraint):
        ...     def forward(self, w):
        ...         return w.clamp(-1.0, 1.0)
        >>> Box()(torch.tensor([0.5, -3.0]))
        tensor([ 0.5000, -1.0000])
    """

    #: the dimensions that make up one unit; a constraint that has units lets the user override them
    dims: int | tuple[int, ...] | None = None

    def forward(self, w: Tensor) -> Tensor:
        """The constrained tensor; `w` itself is not changed."""
        raise TypeError(f"{type(self).__qualname__} must define forward(w)")

    def parts(self) -> Sequence[Constraint]:
        """The rules to bind separately: the constraint itself, or the rules that it combines."""
        return [self]

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Constrain `w` in place, after an optimizer step of size `step_size`."""
        if is_sharded(w):
            self.project_all_([w], [step_size])
            return
        result = self(w)
        if result.shape != w.shape:
            raise SettingError(
                f"{type(self).__name__} returned shape {tuple(result.shape)}: it must keep the shape {tuple(w.shape)}"
            )
        w.copy_(result)

    def project_all_(self, weights: Sequence[Tensor], step_sizes: Sequence[float]) -> None:
        """Constrain several tensors in place, some of which are DTensors.

        By default the shards are gathered together, and `forward` gets full tensors. A constraint that needs less
        communication overrides this.
        """
        for w, full, step_size in zip(weights, full_tensors(*weights), step_sizes, strict=True):
            self.project_(full, step_size)
            if is_sharded(w):
                local_shard(w).copy_(shard_of(full, w))


def as_dims(dims: int | list[int] | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    """Convert `dims` from a configuration: lists become tuples."""
    return tuple(dims) if isinstance(dims, (list, tuple)) else dims


class EntryConstraint(Constraint):
    """A constraint that treats each entry independently, so that shards need no communication.

    Subclass it and write `forward` and `project_`, with functions that support shards.
    """

    def project_all_(self, weights: Sequence[Tensor], step_sizes: Sequence[float]) -> None:
        """Constrain several tensors in place; each rank constrains its shards."""
        for w, step_size in zip(weights, step_sizes, strict=True):
            self.project_(w, step_size)


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
