"""Tests for all regularizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from regtorch import WeightPenalty, create
from regtorch.testing import contract

SHAPES = {"vector": (5,), "linear": (7, 5), "conv": (6, 4, 3, 3), "one_unit": (1, 4)}


@dataclass(frozen=True)
class Case:
    """A regularizer and its expected behavior.

    Args:
        name: registered name.
        settings: settings of the tested regularizer.
        formula: weight -> penalty, implemented independently in NumPy.
        bad: setting -> an invalid value.
    """

    name: str
    settings: Mapping[str, Any]
    formula: Callable[[np.ndarray], float]
    bad: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        return create("regularizer", self.name, **self.settings)

    def __str__(self) -> str:
        return self.name


def weight(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return w.sign() * (w.abs() + 0.1)  # away from the kink of |w|


class RegularizerTester:
    """Subclass it with ``cases``; the tests below then run for each of them."""

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_value_is_the_formula(self, case: Case, shape: tuple[int, ...]) -> None:
        w = weight(shape)
        value = case.make()(w)
        assert value.shape == ()
        assert value.item() == pytest.approx(case.formula(w.numpy()), rel=1e-12, abs=1e-12)

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_gradient_against_finite_differences(self, case: Case, shape: tuple[int, ...]) -> None:
        assert torch.autograd.gradcheck(case.make(), weight(shape).requires_grad_())

    def test_float32_value_and_gradient_are_the_float64_ones(self, case: Case) -> None:
        w64 = weight(SHAPES["conv"]).requires_grad_()
        w32 = w64.detach().float().requires_grad_()
        v64, v32 = case.make()(w64), case.make()(w32)
        v64.backward()
        v32.backward()
        assert v32.dtype == torch.float32
        assert v32.item() == pytest.approx(v64.item(), rel=1e-6)
        assert (w32.grad - w64.grad).abs().max() <= 1e-6 * max(w64.grad.abs().max(), 1e-30)

    def test_zero_weights_give_finite_gradients(self, case: Case) -> None:
        w = torch.zeros(4, 3, requires_grad=True)
        case.make()(w).backward()
        assert w.grad is not None
        assert w.grad.isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_computed_in_float32(self, case: Case, dtype: torch.dtype) -> None:
        half = weight(SHAPES["linear"]).to(dtype).requires_grad_()
        wide = half.detach().float().requires_grad_()
        value, expected = case.make()(half), case.make()(wide)
        assert value.dtype == torch.float32
        assert torch.equal(value, expected)
        value.backward()
        expected.backward()
        assert torch.equal(half.grad, wide.grad.to(dtype))

    def test_a_sum_that_overflows_float16_stays_finite(self, case: Case) -> None:
        w = torch.full((400, 300), 3.0, dtype=torch.float16)
        assert case.make()(w).isfinite()

    def test_autocast_changes_neither_value_nor_gradient(self, case: Case) -> None:
        w = weight(SHAPES["linear"]).float().requires_grad_()
        rule = case.make()
        expected = rule(w)
        (gradient,) = torch.autograd.grad(expected, w)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = rule(w)
            (under_autocast,) = torch.autograd.grad(value, w)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)  # bfloat16 would be off by 1e-3
        torch.testing.assert_close(under_autocast, gradient, rtol=1e-6, atol=1e-7)

    def test_total_is_the_sum(self, case: Case) -> None:
        tensors = [weight(shape, seed) for seed, shape in enumerate(SHAPES.values())]
        expected = sum(case.formula(w.numpy()) for w in tensors)
        assert case.make().total(tensors).item() == pytest.approx(expected, rel=1e-12)

    def test_compiles_without_a_graph_break(self, case: Case) -> None:
        torch._dynamo.reset()
        w = weight(SHAPES["linear"]).requires_grad_()
        rule = case.make()
        compiled = torch.compile(rule, backend="aot_eager", fullgraph=True)(w)
        torch.testing.assert_close(compiled, rule(w))
        gradients = [torch.autograd.grad(value, w)[0] for value in (compiled, rule(w))]
        torch.testing.assert_close(*gradients)

    def test_copies_config_and_repr(self, case: Case) -> None:
        rule = case.make()
        contract.check_copies(rule, weight(SHAPES["linear"]))
        contract.check_round_trip("regularizer", rule, case.name)
        contract.check_where_is_kept("regularizer", rule)
        contract.check_repr(rule)

    def test_bad_settings(self, case: Case) -> None:
        contract.check_bad("regularizer", case.name, case.settings, case.bad)


def check_ranks(rank: int, cases: list[tuple[str, dict[str, Any]]]) -> None:
    """Under DDP each rank adds the complete penalty; averaged gradients equal those of one process with all the data."""
    for name, settings in cases:
        torch.manual_seed(0)
        model = nn.Linear(6, 5, dtype=torch.float64)
        x = torch.randn(8, 6, dtype=torch.float64)
        penalty = WeightPenalty(model, create("regularizer", name, **settings))
        (model(x).square().mean() + penalty()).backward()
        alone = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        parallel = DistributedDataParallel(model)
        (parallel(x[rank * 4 : rank * 4 + 4]).square().mean() + penalty()).backward()
        for p, expected in zip(model.parameters(), alone, strict=True):
            torch.testing.assert_close(p.grad, expected, rtol=1e-10, atol=1e-12, msg=name)
