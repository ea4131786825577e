"""Tests for all constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from regtorch import WeightConstraint, create
from regtorch.testing import contract

SHAPES = {"vector": (5,), "linear": (7, 5), "conv": (6, 4, 3, 3)}


@dataclass(frozen=True)
class Case:
    """A constraint and its expected behavior.

    Args:
        name: registered name.
        settings: settings of the tested constraint.
        formula: weight -> constrained weight, implemented independently in NumPy.
        inside: weight -> a weight that the constraint must leave bit-identical; None: it changes every weight.
        bad: setting -> an invalid value.
        projection: whether constraining twice equals constraining once. A step towards a set, such as a proximal step or
            a decay, is not a projection.
    """

    name: str
    settings: Mapping[str, Any]
    formula: Callable[[np.ndarray], np.ndarray]
    inside: Callable[[np.ndarray], np.ndarray] | None
    bad: Mapping[str, Any] = field(default_factory=dict)
    projection: bool = True

    def make(self) -> nn.Module:
        return create("constraint", self.name, **self.settings)

    def __str__(self) -> str:
        return self.name


def weight(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if len(shape) > 1:
        w[0] *= 0.05
        w[-1] = 0.0
    return w.to(dtype)


class ConstraintTester:
    """Subclass it with a ``case`` fixture; the tests below then run for each case."""

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_result_is_the_formula(self, case: Case, shape: tuple[int, ...]) -> None:
        w = weight(shape)
        before = w.clone()
        np.testing.assert_allclose(case.make()(w).numpy(), case.formula(w.numpy()), rtol=1e-6, atol=1e-6)
        assert torch.equal(w, before)

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_in_place_is_the_same(self, case: Case, shape: tuple[int, ...]) -> None:
        w = weight(shape, torch.float32)
        expected = case.make()(w)
        case.make().project_(w)
        assert torch.equal(w, expected)

    def test_inside_stays_bit_for_bit(self, case: Case) -> None:
        if case.inside is None:
            pytest.skip("according to its case it changes every weight (inside=None)")
        w = torch.from_numpy(case.inside(weight((7, 5), torch.float32).numpy()))
        assert torch.equal(case.make()(w), w)

    def test_projections_are_idempotent(self, case: Case) -> None:
        once = case.make()(weight((7, 5)))
        twice = case.make()(once)
        if case.projection:
            torch.testing.assert_close(twice, once, rtol=1e-6, atol=1e-6)
        else:
            assert not torch.equal(twice, once), f"{case} is a projection: remove projection=False from its case"

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_computed_in_float32(self, case: Case, dtype: torch.dtype) -> None:
        w = weight((7, 5), dtype)
        result = case.make()(w)
        assert result.dtype == dtype
        wide = case.make()(w.float())
        torch.testing.assert_close(result.float(), wide, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)

    def test_compiles_without_a_graph_break(self, case: Case) -> None:
        torch._dynamo.reset()
        w = weight((7, 5), torch.float32)
        compiled = torch.compile(case.make(), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(w), case.make()(w))

    def test_copies_config_and_repr(self, case: Case) -> None:
        contract.check_copies(case.make(), weight((7, 5)))
        contract.check_round_trip("constraint", case.make(), case.name)
        contract.check_where_is_kept("constraint", case.make())
        contract.check_repr(case.make())

    def test_bad_settings(self, case: Case) -> None:
        contract.check_bad("constraint", case.name, case.settings, case.bad)


def check_ranks(rank: int, cases: list[tuple[str, dict[str, Any]]]) -> None:
    """Under a constraint all ranks keep equal weights, the same as those of a single process."""
    for name, settings in cases:
        results = []
        for distributed in (False, True):
            torch.manual_seed(0)
            model: nn.Module = nn.Linear(6, 5, dtype=torch.float64)
            x = torch.randn(8, 6, dtype=torch.float64)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
            WeightConstraint(model, create("constraint", name, **settings)).attach(optimizer)
            network = DistributedDataParallel(model) if distributed else model
            for _ in range(3):
                optimizer.zero_grad()
                network(x[rank * 4 : rank * 4 + 4] if distributed else x).square().mean().backward()
                optimizer.step()
            results.append(model.weight.detach())
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12, msg=name)
