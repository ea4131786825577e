"""All constraints: shared tests, and comparison with Keras."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from regtorch import available, create
from regtorch.errors import SettingError
from regtorch.registry import component
from regtorch.tensor_ops.rounding import rounded
from regtorch.testing.constraint import Case, ConstraintTester, check_ranks
from regtorch.testing.ranks import on_two_ranks

REFERENCE = Path(__file__).parents[1] / "reference"  # constraints.npz and rules.json are output of Keras 3.15.1


def _norms(w: np.ndarray) -> np.ndarray:
    return np.sqrt((w**2).sum(axis=tuple(range(1, w.ndim)) if w.ndim > 1 else 0, keepdims=True))


def _scaled(w: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    norms = _norms(w)
    return w * np.divide(wanted, norms, out=np.ones_like(norms), where=norms > 0)


def _min_max(w: np.ndarray, rate: float) -> np.ndarray:
    return _scaled(w, rate * np.clip(_norms(w), 0.5, 1.5) + (1 - rate) * _norms(w))


def _clipped(w: np.ndarray) -> np.ndarray:
    left, values, right = np.linalg.svd(w.reshape(len(w), -1) if w.ndim > 1 else w.reshape(1, -1), full_matrices=False)
    return (left @ np.diag(np.minimum(values, 1.0)) @ right).reshape(w.shape)


MIN_MAX = {"min_value": 0.5, "max_value": 1.5}

CASES = [
    Case("none", {}, lambda w: w, lambda w: w),
    Case(
        "max_norm",
        {"max_value": 1.0},
        lambda w: _scaled(w, np.minimum(_norms(w), 1.0)),
        lambda w: 0.1 * w,
        {"max_value": 0, "dims": "all"},
    ),
    Case(
        "min_max_norm",
        MIN_MAX,
        lambda w: _min_max(w, 1.0),
        lambda w: _scaled(w, 0 * _norms(w) + 1),
        {"rate": 1.1, "min_value": 2.0},
    ),
    Case(
        "min_max_norm",
        {**MIN_MAX, "rate": 0.3},
        lambda w: _min_max(w, 0.3),
        lambda w: _scaled(w, 0 * _norms(w) + 1),
        {"max_value": -1},
        projection=False,
    ),
    Case("unit_norm", {}, lambda w: _scaled(w, np.ones_like(_norms(w))), None, {"dims": 1.5}),
    Case("spectral_norm", {"max_value": 1.0}, _clipped, lambda w: 0.1 * w, {"max_value": 0}),
    Case("non_neg", {}, lambda w: np.maximum(w, 0), np.abs),
    Case(
        "soft_threshold",
        {"strength": 0.3},
        lambda w: np.sign(w) * np.maximum(abs(w) - 0.3, 0),
        None,
        {"strength": -1},
        projection=False,
    ),
    Case(
        "several",
        {"rules": [{"name": "non_neg"}, {"name": "max_norm", "max_value": 1.0}]},
        lambda w: _scaled(np.maximum(w, 0), np.minimum(_norms(np.maximum(w, 0)), 1.0)),
        lambda w: 0.1 * np.abs(w),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestConstraints(ConstraintTester):
    pass


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_diverged_weight_is_no_error(case: Case) -> None:
    w = torch.tensor([[torch.nan, 1.0], [0.2, 0.3]])
    projected = create("constraint", case.name, **case.settings)(w)
    assert projected.shape == w.shape
    if case.name != "several":
        assert projected[0, 0].isnan()


def test_every_constraint_is_in_the_table() -> None:
    own = {name for name in available("constraint") if component("constraint", name).module.startswith("regtorch.")}
    assert {case.name for case in CASES} == own


def test_two_ranks_stay_in_step() -> None:
    on_two_ranks(check_ranks, [(case.name, dict(case.settings)) for case in CASES])


def _keras_cases() -> list[dict]:
    return json.loads((REFERENCE / "rules.json").read_text())["constraints"]


@pytest.mark.parametrize("keras", _keras_cases(), ids=lambda c: f"{c['index']}-{c['case']}")
def test_against_keras(keras: dict) -> None:
    files = np.load(REFERENCE / "constraints.npz")
    settings = dict(keras["config"])
    if "axis" in settings:
        settings["dims"] = settings.pop("axis")
    name = next(n for n in ("min_max_norm", "max_norm", "unit_norm", "non_neg") if keras["case"].startswith(n))
    result = create("constraint", name, **settings)(torch.from_numpy(files[f"weight/{keras['weight']}"]))
    np.testing.assert_allclose(result.numpy(), files[f"output/{keras['index']}"], rtol=0, atol=1e-6)


WEIGHTS = arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-100, 100, width=32))


@given(WEIGHTS, st.floats(0.01, 50))
def test_max_norm_is_the_projection_onto_the_ball(w: np.ndarray, max_value: float) -> None:
    result = create("constraint", "max_norm", max_value=max_value)(torch.from_numpy(w)).numpy().astype(np.float64)
    norms = _norms(w.astype(np.float64))
    assert (_norms(result) <= max_value * (1 + 1e-6)).all()
    # optimality: the difference is parallel to the unit, with the length by which the norm exceeds the radius
    np.testing.assert_allclose(_norms(w - result), np.maximum(norms - max_value, 0), rtol=1e-5, atol=1e-4)
    inside = np.broadcast_to(norms < max_value * (1 - 1e-6), w.shape)
    assert (result[inside] == w[inside]).all()


@given(WEIGHTS, st.floats(0, 10))
def test_soft_threshold_solves_the_proximal_problem(w: np.ndarray, strength: float) -> None:
    v = create("constraint", "soft_threshold", strength=strength)(torch.from_numpy(w)).numpy().astype(np.float64)
    gap = w - v  # optimality: the gap is strength * sign(v) where v is not 0, and at most strength where it is
    tolerance = 1e-5 * (1 + np.abs(w))
    assert (np.abs(gap - strength * np.sign(v))[v != 0] <= tolerance[v != 0]).all()
    assert (np.abs(gap)[v == 0] <= strength + tolerance[v == 0]).all()


def test_max_norm_does_not_drift_inside_the_ball() -> None:
    w = torch.randn(20, 10) * 0.1
    rule = create("constraint", "max_norm", max_value=2.0)
    moved = w.clone()
    for _ in range(1000):
        rule.project_(moved)
    assert torch.equal(moved, w)


def test_dims_that_the_weight_does_not_have() -> None:
    with pytest.raises(SettingError, match=r"dims=7 .* \(3, 2\): it has 2 dimensions"):
        create("constraint", "max_norm", dims=7)(torch.ones(3, 2))


UNITS = {
    "linear": ((30, 784), (1,)),
    "conv": ((6, 4, 3, 3), (1, 2, 3)),
    "columns": ((30, 20), (0,)),
    "vector": ((50,), (0,)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("shape", "dims"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("bounds", [(0.0, 2.0), (0.0, 0.7), (0.5, 1.5), (1.0, 1.0), (0.3, 0.3021)], ids=str)
def test_bounds_hold_for_stored_half_precision_weights(
    dtype: torch.dtype, shape: tuple[int, ...], dims: tuple[int, ...], bounds: tuple[float, float]
) -> None:
    low, high = bounds
    rules = [create("constraint", "min_max_norm", min_value=low, max_value=high, dims=dims)]
    if not low:
        rules.append(create("constraint", "max_norm", max_value=high, dims=dims))
    torch.manual_seed(0)
    eps = torch.finfo(dtype).eps
    # if the bounds are closer, no rounding is certain to be between them
    reachable = low if low * (1 + eps) <= high else low * (1 - eps)
    for spread in (1e-3, 0.1, 1.0, 30.0):
        w = (spread * torch.rand(shape[:1] + (1,) * (len(shape) - 1)) * torch.randn(shape)).to(dtype)
        before = torch.linalg.vector_norm(w.float(), dim=dims, keepdim=True)
        for rule in rules:
            result = rule(w)
            norms = torch.linalg.vector_norm(result.float(), dim=dims, keepdim=True)
            assert (norms <= high * (1 + 1e-6)).all()
            assert (norms >= reachable * (1 - 1e-6)).all()
            assert (norms >= before.clamp(low, high) * (1 - eps) - 1e-6).all()  # not smaller than rounding requires
            inside = ((low <= before) & (before <= high)).expand_as(w)
            assert torch.equal(result[inside], w[inside])
            assert torch.equal(rule(result), result)
            rule.project_(w_in_place := w.clone())
            assert torch.equal(w_in_place, result)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_selects_the_neighbor_in_the_given_direction(dtype: torch.dtype) -> None:
    numbers = torch.arange(1 << 15, dtype=torch.int16).view(dtype).float()  # all non-negative numbers, in order
    numbers = numbers[numbers.isfinite()]
    torch.manual_seed(0)
    wide = torch.cat([numbers, torch.randn(10_000) * 10.0 ** torch.randint(-9, 5, (10_000,))])
    wide = wide[wide.abs() <= numbers[-1]]
    for sign in (1, -1):
        below, above = (sign * rounded(sign * wide, dtype, away).float() for away in (False, True))
        size = wide.abs()
        assert torch.equal(below.abs(), numbers[torch.searchsorted(numbers, size, right=True) - 1])
        assert torch.equal(above.abs(), numbers[torch.searchsorted(numbers, size)])
        assert (below * wide >= 0).all()
        assert (above * wide >= 0).all()
    beyond = torch.tensor([1e39, -1e39, float("nan")])
    largest = torch.finfo(dtype).max
    assert rounded(beyond, dtype, away=True)[:2].tolist() == [largest, -largest]
    assert rounded(beyond, dtype)[2].isnan()
