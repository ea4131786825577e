"""Several constraints in sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from regtorch.constraints.base import Constraint
from regtorch.registry import create, register


@register("constraint", "several")
class SeveralConstraints(Constraint):
    """Several constraints in turn; `WeightConstraint` binds each to its own `where`.

    Afterwards the last one is satisfied; it may violate earlier ones.

    Args:
        rules: constraints, or their configuration nodes.

    Raises:
        UnknownNameError: a node names no registered constraint.

    Example:
        >>> import torch
        >>> several = SeveralConstraints([{"name": "non_neg"}, {"name": "max_norm", "max_value": 1.0}])
        >>> several(torch.tensor([[2.0, -2.0]]))
        tensor([[1., 0.]])
    """

    def __init__(self, rules: Sequence[Constraint | Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.rules = nn.ModuleList(create("constraint", **r) if isinstance(r, Mapping) else r for r in rules)

    def settings(self) -> dict[str, Any]:
        """The rules' nodes."""
        return {"rules": [rule.to_config() for rule in self.parts()]}

    def parts(self) -> Sequence[Constraint]:
        """The rules."""
        return [rule for rule in self.rules if isinstance(rule, Constraint)]

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Apply all constraints in place."""
        for rule in self.parts():
            rule.project_(w, step_size)

    def project_all_(self, weights: Sequence[Tensor], step_sizes: Sequence[float]) -> None:
        """Apply all constraints to several tensors in place."""
        for rule in self.parts():
            rule.project_all_(weights, step_sizes)

    def forward(self, w: Tensor) -> Tensor:
        """The tensor after all constraints."""
        for rule in self.parts():
            w = rule(w)
        return w
