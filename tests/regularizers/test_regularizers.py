"""All regularizers: shared tests, and comparison with Keras."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from regtorch import WeightPenalty, available, create
from regtorch.registry import component
from regtorch.testing.ranks import on_two_ranks
from regtorch.testing.regularizer import Case, RegularizerTester, check_ranks

REFERENCE = Path(__file__).parents[1] / "reference"  # penalties.npz and rules.json are output of Keras 3.15.1


def _matrix(w: np.ndarray) -> np.ndarray:
    return w.reshape(len(w), -1) if w.ndim > 1 else w[None]


def _mean_cosine(rows: np.ndarray) -> float:
    pairs = list(combinations(rows, 2))
    cosines = [abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    return float(np.mean(cosines)) if pairs else 0.0


NEGATIVE = {"strength": -0.1}

CASES = [
    Case("l1", {"l1": 0.003}, lambda w: 0.003 * abs(w).sum(), {"l1": -1.0}),
    Case("l2", {"l2": 0.05}, lambda w: 0.05 * (w**2).sum(), {"l2": "a lot"}),
    Case(
        "l1_l2",
        {"l1": 0.003, "l2": 0.05},
        lambda w: 0.003 * abs(w).sum() + 0.05 * (w**2).sum(),
        {"l1": -1, "l2": float("nan")},
    ),
    Case("squared_l1", {"factor": 0.001}, lambda w: 0.001 * abs(w).sum() ** 2, {"factor": -1e-9}),
    Case("orthogonal", {"strength": 0.1}, lambda w: 0.1 * _mean_cosine(_matrix(w)), {**NEGATIVE, "mode": "diagonal"}),
    Case("orthogonal", {"strength": 0.1, "mode": "columns"}, lambda w: 0.1 * _mean_cosine(_matrix(w).T), NEGATIVE),
    Case(
        "group_lasso", {"strength": 0.1}, lambda w: 0.1 * np.sqrt((w.reshape(len(w), -1) ** 2).sum(1)).sum(), NEGATIVE
    ),
    Case("hoyer_square", {"strength": 0.1}, lambda w: 0.1 * abs(w).sum() ** 2 / (w**2).sum(), NEGATIVE),
    Case("spectral", {"strength": 0.1}, lambda w: 0.1 * np.linalg.svd(_matrix(w))[1][0], {"strength": True}),
    Case(
        "concrete",  # for a kernel without a preceding concrete dropout
        {"weight_regularizer": 0.05, "dropout_regularizer": 0.1},
        lambda w: 0.05 * (w**2).sum(),
        {"weight_regularizer": -1, "dropout_regularizer": float("inf")},
    ),
    Case("activity", {"regularizer": {"name": "l1", "l1": 0.1}}, lambda w: 0.1 * abs(w).sum() / len(w)),
    Case(
        "several",
        {"rules": [{"name": "l1", "l1": 0.1, "where": "all"}, {"name": "l2", "l2": 0.2}]},
        lambda w: 0.1 * abs(w).sum() + 0.2 * (w**2).sum(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestRegularizers(RegularizerTester):
    pass


def test_every_regularizer_is_in_the_table() -> None:
    own = {name for name in available("regularizer") if component("regularizer", name).module.startswith("regtorch.")}
    assert {"none"} | {case.name for case in CASES} == own


def test_the_penalty_of_a_diverged_weight_is_not_finite() -> None:
    w = torch.tensor([[torch.nan, 1.0], [2.0, 3.0]])
    finite = [case.name for case in CASES if create("regularizer", case.name, **case.settings)(w).isfinite()]
    assert finite == []


def test_second_derivatives_of_hoyer_square_where_a_weight_is_zero() -> None:
    w = torch.tensor([2.0, -1.5, 0.0, 1.0], dtype=torch.float64)
    found = torch.func.hessian(create("regularizer", "hoyer_square", strength=0.1))(w)
    expected = torch.func.hessian(lambda v: 0.1 * v.abs().sum().square() / v.square().sum())(w)
    assert expected[2, 2] < -0.05
    torch.testing.assert_close(found, expected)


def test_none_is_zero_and_binds_nothing() -> None:
    assert create("regularizer", "none")(torch.ones(3)).item() == 0.0
    penalty = WeightPenalty(torch.nn.Linear(2, 2), create("regularizer", "none"))
    assert penalty().item() == 0.0
    assert penalty.names == []


def test_two_ranks_add_the_penalty_once() -> None:
    on_two_ranks(check_ranks, [(case.name, dict(case.settings)) for case in CASES if case.name != "activity"])


def _keras_cases() -> list[dict]:
    return json.loads((REFERENCE / "rules.json").read_text())["penalties"]


@pytest.mark.parametrize("keras", _keras_cases(), ids=lambda c: f"{c['case']}-{c['weight']}")
def test_against_keras(keras: dict) -> None:
    arrays = np.load(REFERENCE / "penalties.npz")
    settings = dict(keras["config"])
    name = next(n for n in ("l1_l2", "squared_l1", "orthogonal", "l1", "l2") if keras["case"].startswith(n))
    if name == "orthogonal":
        settings["strength"] = settings.pop("factor")
    w = torch.from_numpy(arrays[f"weight/{keras['weight']}"]).requires_grad_()
    value = create("regularizer", name, **settings)(w)
    value.backward()
    gradient = arrays[f"gradient/{keras['case']}/{keras['weight']}"]
    assert value.item() == pytest.approx(keras["value"], rel=1e-6)
    assert np.abs(w.grad.numpy() - gradient).max() <= 1e-6 * np.abs(gradient).max()


def test_the_subgradient_of_l1_at_zero_is_zero() -> None:
    w = torch.tensor([0.0, -2.0, 3.0], requires_grad=True)
    create("regularizer", "l1", l1=0.1)(w).backward()
    torch.testing.assert_close(w.grad, torch.tensor([0.0, -0.1, 0.1]))


def test_second_derivatives_of_the_fused_penalty() -> None:
    w = torch.randn(4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(create("regularizer", "l1_l2", l1=0.1, l2=0.2), w)


def test_large_sums_keep_six_digits() -> None:
    w = torch.randn(4000, 1000)
    for name in ("l1", "l2"):
        exact = create("regularizer", name)(w.double()).item()
        assert create("regularizer", name)(w).item() == pytest.approx(exact, rel=1e-6)
