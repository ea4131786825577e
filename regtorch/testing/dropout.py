"""Tests for all dropouts."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from regtorch import create
from regtorch.errors import NamingError
from regtorch.testing import contract

#: number of standard normal values in the reference of a case
REFERENCE_UNITS = 2000 * 16 * 16 * 8
PROBABILITIES = (0.1, 0.25, 0.5)
SIGMAS = 5.0


@dataclass(frozen=True)
class Case:
    """A dropout and its theoretical properties.

    Args:
        name: registered name.
        shape: shape of the input, (rows, channels, *sizes).
        draw_dims: number of leading dimensions with separate draws; units beyond them share a draw.
        dropped: p -> the value of a dropped unit; None: units are not dropped but get noise.
        factor: p -> expected output / input.
        variance: p -> variance of the output for standard normal input.
        independent: whether draws are independent of each other.
        can_drop_none: whether p = 0 is allowed.
        can_drop_all: whether p = 1 is allowed.
        within: wraps the dropout in a module that stores it as ``drop`` and accepts the input above, such as `StepsLast`
            and `WeightsAsUnits`.
        acts_on_weights: whether the dropout drops weights of a wrapped layer instead of units: then one mask per forward
            pass holds for all rows.
        noise_depends_on_dtype: whether a seed yields different noise in precisions other than float32; a tuple lists
            these precisions.
        state: names of its learned parameters.
        settings: settings of the tested dropout besides p.
        bad: setting -> an invalid value.
        reference: moments of another library's layer, each with its p (``rate``), ``var`` and ``mode_value``.
        probability: the setting for p: ``drop_prob``, or the name of noise that is not a probability, such as ``std``.
    """

    name: str
    shape: tuple[int, ...] = (400, 8, 10, 10)
    draw_dims: int = 4
    dropped: Callable[[float], float] | None = lambda p: 0.0
    factor: Callable[[float], float] = lambda p: 1.0
    variance: Callable[[float], float] = lambda p: 1 / (1 - p)
    independent: bool = True
    can_drop_none: bool = True
    can_drop_all: bool = True
    within: Callable[[nn.Module], nn.Module] = lambda module: module
    acts_on_weights: bool = False
    noise_depends_on_dtype: bool | tuple[torch.dtype, ...] = False
    state: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    bad: Mapping[str, Any] = field(default_factory=dict)
    reference: Sequence[Mapping[str, Any]] = ()
    probability: str = "drop_prob"

    def make(self, p: float = 0.25) -> nn.Module:
        module: nn.Module = create("dropout", self.name, **{self.probability: p}, **self.settings)
        return self.within(module)

    def input(self, rows: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn((rows, *self.shape[1:]), generator=generator, dtype=torch.float64).to(dtype)

    def __str__(self) -> str:
        return self.name


class WeightsAsUnits(nn.Module):
    """Passes its input through the weights of a dropout, so that the tests of units apply to weights."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.drop = drop.around(nn.Linear(1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        one = torch.ones(1, 1, dtype=x.dtype)
        return functional_call(self.drop, {"layer.weight": x.reshape(-1, 1)}, one).reshape(x.shape)


class StepsLast(nn.Module):
    """Adapts a dropout for (batch, time, features) to sequences (batch, features, time)."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x.transpose(1, 2)).transpose(1, 2)


def core(module: nn.Module) -> Any:
    """The dropout itself."""
    return getattr(module, "drop", module)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within_sampling_error(values: Tensor, expected: float, draws: int, what: str) -> float:
    """Check that the mean of all values is as expected within 5 standard errors of the independent draws; return that error."""
    means = values.double().reshape(draws, -1).mean(dim=1)
    error = means.std().item() / math.sqrt(draws)
    assert abs(means.mean().item() - expected) <= SIGMAS * error + 1e-6, (
        f"{what}: {means.mean()} is not {expected} +- {error}"
    )
    return error


class DropoutTester:
    """Subclass it with ``cases``; the tests below then run for each of them."""

    @pytest.mark.parametrize("p", PROBABILITIES)
    def test_distribution(self, case: Case, p: float) -> None:
        torch.manual_seed(0)
        x = case.input(rows=case.shape[0])
        y = case.make(p)(x)
        draws = math.prod(case.shape[: case.draw_dims])
        within_sampling_error(y, 0.0, draws, "mean")
        error = within_sampling_error(y.square(), case.variance(p), draws, "variance")
        if case.dropped is not None:
            gone = torch.isclose(y, torch.tensor(case.dropped(p)), rtol=0, atol=1e-6)
            within_sampling_error(gone, p, draws, "share of dropped units")
            by_draw = gone.double().reshape(case.shape[0], draws // case.shape[0], -1).mean(dim=2)
            if case.independent:  # then the counts per row have binomial variance
                assert ((by_draw < 0.1) | (by_draw > 0.9)).all()  # kept units may be 0 by chance
                ratio = by_draw.round().sum(dim=1).var().item() / (by_draw.shape[1] * p * (1 - p))
                assert abs(ratio - 1) <= SIGMAS * math.sqrt(2 / case.shape[0] * (1 + 1 / by_draw.shape[1] / p))
        for row in case.reference:
            if row["rate"] == p:
                kerass = math.hypot(error, error * math.sqrt(x.numel() / REFERENCE_UNITS))
                assert abs(y.square().mean().item() - row["var"]) <= SIGMAS * kerass
                if case.dropped is not None and case.dropped(p):
                    assert case.dropped(p) == pytest.approx(row["mode_value"], abs=2e-6)

    @pytest.mark.parametrize("p", PROBABILITIES)
    def test_expected_value(self, case: Case, p: float) -> None:
        torch.manual_seed(0)
        y = case.make(p)(torch.full(case.shape, 2.0))
        within_sampling_error(y, 2 * case.factor(p), math.prod(case.shape[: case.draw_dims]), "mean of the output")

    def test_evaluation_is_the_identity(self, case: Case) -> None:
        x = case.input()
        y = case.make().eval()(x)
        assert torch.equal(y, x)
        assert y is x or hasattr(case.make(), "drop")

    def test_the_global_seed_repeats(self, case: Case) -> None:
        module, x = case.make(), case.input()
        runs = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            runs.append(module(x))
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])

    def test_a_generator_is_the_only_source(self, case: Case) -> None:
        module, x = case.make(), case.input()
        before = torch.get_rng_state()
        runs = []
        for seed in (3, 3, 4):
            core(module).generator = seeded(seed)
            runs.append(module(x))
        assert torch.equal(runs[0], runs[1]), "it must draw all noise from self.generator: pass generator= on"
        assert not torch.equal(runs[0], runs[2]), "it does not draw from self.generator"
        assert torch.equal(torch.get_rng_state(), before), "it draws from torch's global generator"

    def test_shared_noise_is_the_same_for_all_rows(self, case: Case) -> None:
        module, x = case.make(), case.input(rows=6)
        core(module).shared = True

        def run(rows: Tensor) -> Tensor:
            core(module).generator = seeded(3)
            return module(rows)

        if not case.acts_on_weights:  # otherwise one mask holds for all rows
            one_draw = "with self.shared, it must draw the noise of one row, shape (1, *x.shape[1:]), for all rows"
            assert torch.equal(run(x)[[4, 1]], run(x[[4, 1]])), one_draw
            assert torch.equal(run(x[:1].expand_as(x)), run(x[:1]).expand_as(x)), one_draw
        assert not torch.equal(run(x), x)

    def test_rows_have_separate_noise(self, case: Case) -> None:
        module = case.make(0.5)
        core(module).generator = seeded(0)
        y = module(case.input(rows=1).expand(32, *case.shape[1:]))
        assert not torch.equal(y, y[:1].expand_as(y))

    @pytest.mark.parametrize("shared", [False, True])
    def test_gradient_against_finite_differences(self, case: Case, shared: bool) -> None:
        module = case.make(0.4)
        core(module).shared = shared

        def run(x: Tensor) -> Tensor:
            core(module).generator = seeded(5)
            return module(x)

        x = case.input(rows=3, dtype=torch.float64)[tuple(slice(4) for _ in case.shape)].clone().requires_grad_()
        assert torch.autograd.gradcheck(run, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda x: run(x) ** 3, x, fast_mode=True)

    def test_nothing_to_drop(self, case: Case) -> None:
        x = case.input()
        if case.can_drop_none:
            assert torch.equal(case.make(0.0)(x), x)
        else:
            contract.check_bad("dropout", case.name, case.settings, {case.probability: 0.0})
            if case.probability == "drop_prob":
                contract.check_bad("dropout", case.name, case.settings, {"keep_prob": 1.0})

    def test_everything_dropped_is_zero_and_not_nan(self, case: Case) -> None:
        if not case.can_drop_all:
            pytest.skip("according to its case not everything can be dropped (can_drop_all=False)")
        x = case.input().requires_grad_()
        y = case.make(1.0)(x)
        y.sum().backward()
        assert torch.equal(y, torch.zeros_like(x))
        assert torch.equal(x.grad, torch.zeros_like(x))

    def test_the_probability_may_change(self, case: Case) -> None:
        module, x = case.make(), case.input()
        few = 0.0 if case.can_drop_none else 1e-6
        setattr(core(module), case.probability, few)
        assert getattr(core(module), case.probability) == few
        torch.testing.assert_close(module(x), x, rtol=0 if few == 0 else 1e-4, atol=0)
        with pytest.raises(ValueError, match=f"{case.probability}=-0.5 is not allowed"):
            setattr(core(module), case.probability, -0.5)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_other_precisions_have_the_same_noise(self, case: Case, dtype: torch.dtype) -> None:
        module, x = case.make(), case.input()
        results = []
        for t in (x.to(dtype).requires_grad_(), x.to(dtype).float().requires_grad_()):
            core(module).generator = seeded(2)
            y = module(t)
            y.sum().backward()
            assert y.dtype == t.grad.dtype == t.dtype
            results.append((y, t.grad))
        depends = case.noise_depends_on_dtype
        if dtype in depends if isinstance(depends, tuple) else depends:
            pytest.skip(f"according to its case the noise differs in {dtype} (noise_depends_on_dtype)")
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(
                got.float(), expected.to(dtype).float(), rtol=1e-2 if dtype == torch.bfloat16 else 2e-3, atol=1e-6
            )

    @pytest.mark.parametrize("rows", [0, 1])
    def test_smallest_batches(self, case: Case, rows: int) -> None:
        x = case.input(rows)
        for p in (0.25, 0.9):
            assert case.make(p)(x).shape == x.shape

    def test_strided_input(self, case: Case) -> None:
        torch.manual_seed(0)
        wide = case.input(rows=8).repeat_interleave(2, dim=0)
        x = wide[::2]
        assert not x.is_contiguous()
        y = case.make(0.5)(x)
        kept = y != (case.dropped(0.5) if case.dropped else math.nan)
        assert y.shape == x.shape
        assert 0 < kept.double().mean() <= 1
        if len(case.shape) == 4:
            x = case.input(rows=64).to(memory_format=torch.channels_last)
            y = case.make(0.5)(x)
            assert y.is_contiguous(memory_format=torch.channels_last) or case.acts_on_weights
            if case.dropped is not None and case.independent and case.draw_dims == 4:
                gone = torch.isclose(y, torch.tensor(case.dropped(0.5)), rtol=0, atol=1e-6).double()
                for dim in range(4):  # neighbors in any direction are independent
                    a, b = gone.narrow(dim, 0, gone.shape[dim] - 1), gone.narrow(dim, 1, gone.shape[dim] - 1)
                    assert abs((a - 0.5).mul(b - 0.5).mean()) <= SIGMAS * 0.25 / math.sqrt(a.numel())

    def test_compiled_dropouts_accept_any_batch_size(self, case: Case) -> None:
        torch._dynamo.reset()
        module = torch.compile(case.make(0.5), backend="aot_eager", fullgraph=True)
        for rows in (8, 5, 1, 7):
            assert module(torch.ones(rows, *case.shape[1:])).shape == (rows, *case.shape[1:])

    def test_compiles_without_a_graph_break(self, case: Case) -> None:
        torch._dynamo.reset()
        torch.manual_seed(0)
        module = case.make(0.5)
        x = torch.full((64, *case.shape[1:]), 2.0, requires_grad=True)
        y = torch.compile(module, backend="aot_eager", fullgraph=True)(x)
        y.sum().backward()
        within_sampling_error(y, 2 * case.factor(0.5), math.prod(x.shape[: case.draw_dims]), "mean when compiled")
        assert y.std() > 0
        if case.dropped is not None:  # the gradient uses the mask of the output
            gone = torch.isclose(y, torch.tensor(case.dropped(0.5)), atol=1e-6)
            assert torch.equal(gone, x.grad == 0)
            assert x.grad[~gone].unique().numel() == 1

    def test_function_transforms(self, case: Case) -> None:
        module, x = case.make(), case.input()
        if not case.acts_on_weights:  # otherwise a single row is not a valid input of the layer
            rows = torch.func.vmap(lambda row: module(row[None])[0], randomness="different")(x)
            assert rows.shape == x.shape
        assert torch.func.grad(lambda x: module(x).sum())(x).shape == x.shape

    def test_copies(self, case: Case) -> None:
        module, x = case.make(), case.input()
        core(module).generator = seeded(1)
        core(module).shared = True
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert core(twin).generator is None
            assert core(twin).shared
            results = []
            for m in (module, twin):
                core(m).generator = seeded(7)
                results.append(m(x))
            assert torch.equal(*results)
        assert tuple(core(module).state_dict()) == case.state

    def test_config_and_repr(self, case: Case) -> None:
        module = core(case.make())
        contract.check_round_trip("dropout", module, case.name)
        contract.check_repr(module)
        assert list(module.to_config())[:2] == ["name", case.probability]
        if case.probability == "drop_prob":
            assert "drop_prob=0.25, keep_prob=0.75" in repr(module)
            other = create("dropout", case.name, drop_prob=None, keep_prob=0.9, **case.settings)
            assert other.drop_prob == 0.1
            assert "drop_prob=0.1, keep_prob=0.9" in repr(other)
            default = create("dropout", case.name, drop_prob=None, keep_prob=None)
            assert default.drop_prob == type(default).default_drop_prob
        assert "generator" not in repr(module)

    def test_bad_settings(self, case: Case) -> None:
        key = case.probability
        wrong = [-0.1, float("nan"), float("inf"), "a lot", True]
        for value in [*wrong, *([1.5] if key == "drop_prob" else [])]:
            contract.check_bad("dropout", case.name, case.settings, {key: value, **case.bad})
            if key == "drop_prob":
                contract.check_bad("dropout", case.name, case.settings, {"keep_prob": value})
        if not case.can_drop_all and key == "drop_prob":
            contract.check_bad("dropout", case.name, case.settings, {"drop_prob": 1.0})
            contract.check_bad("dropout", case.name, case.settings, {"keep_prob": 0.0})

    def test_ambiguous_arguments(self, case: Case) -> None:
        cls = type(core(case.make()))
        instead = f"{case.probability}=0.3" + (" or keep_prob=0.3" if case.probability == "drop_prob" else "")
        for args, named in (((0.3,), {}), ((), {"p": 0.3}), ((), {"rate": 0.3})):
            given = ", ".join([*map(repr, args), *(f"{k}={v}" for k, v in named.items())])
            with pytest.raises(NamingError) as caught:
                cls(*args, **named)
            assert str(caught.value).startswith(f"{cls.__name__}({given}): write {instead}; ")
            assert isinstance(caught.value, TypeError)
            assert isinstance(caught.value, ValueError)
            assert "\n" not in str(caught.value)
        if case.probability == "drop_prob":
            with pytest.raises(NamingError, match=r"drop_prob=0.2 and keep_prob=0.8 are both given"):
                cls(drop_prob=0.2, keep_prob=0.8)
            with pytest.raises(NamingError, match=r"needs a probability: write drop_prob=\.\.\. or keep_prob="):
                cls()


def check_ranks(rank: int, cases: list[tuple[str, dict[str, Any], tuple[int, ...]]]) -> None:
    """Ranks with the same seed draw the same noise, others draw different noise; all dropouts work under DDP."""
    for name, settings, sizes in cases:
        module = create("dropout", name, **settings)
        on_weights = getattr(module, "acts_on_weights", False)
        net: Any = nn.Sequential(nn.Linear(sizes[-1], sizes[-1]), nn.Identity() if on_weights else module)
        if on_weights:
            net[0] = module.around(net[0])
        parallel = DistributedDataParallel(net)
        x = torch.ones(4, *sizes)
        for same in (True, False):
            torch.manual_seed(0 if same else rank)
            y = parallel(x).detach()
            both = [torch.empty_like(y) for _ in range(2)]
            dist.all_gather(both, y)
            assert torch.equal(*both) == same, name
        parallel(x).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters()), name
