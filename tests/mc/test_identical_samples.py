"""Samples that are identical in all rows are an error, unless it is the batch's own numbers that leave noise without effect."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    def __init__(self, noise: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.noise = nn.Linear(6, 20), nn.Linear(20, 3), noise

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.noise(self, self.first(x)))


def network(weight: float | None = None, bias: float | None = None, kind: type[nn.Module] = nn.Dropout) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), kind(0.5), nn.Linear(20, 3))
    if weight is not None:
        nn.init.constant_(model[3].weight, weight)
    if bias is not None:
        nn.init.constant_(model[3].bias, bias)
    return model


def two_parts(x: Tensor) -> Tensor:
    return x[:, :2] * 0 + 0.3


IDENTICAL = {
    "zeros": (lambda: network(0.0, 0.0), {}),
    "zeros, and a bias that rounds in a mean": (lambda: network(0.0, 0.1), {"transform": None}),
    "one pass at a time": (lambda: network(0.0, 0.1), {"transform": None, "max_batch": 1}),
    "one row at a time": (lambda: network(0.0, 0.1), {"masks": "independent", "max_batch": 1}),
    "two samples": (lambda: network(0.0, 0.1), {"samples": 2}),
    "tolerance": (lambda: network(0.0, 0.1), {"tolerance": 0.1}),
    "sigmoid": (lambda: network(0.0, 0.1), {"transform": "sigmoid"}),
    "times zero": (lambda: Noisy(lambda m, h: F.dropout(h, 0.5, m.training) * 0), {}),
    "transform": (network, {"transform": two_parts}),
    "output": (network, {"output": two_parts}),
    "regtorch": (lambda: network(0.0, 0.1, kind=lambda p: regtorch.Dropout(drop_prob=p)), {}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", IDENTICAL)
def test_samples_that_are_identical_in_all_rows_are_an_error(name: str) -> None:
    make, settings = IDENTICAL[name]
    settings = {"samples": 20, **settings}
    with pytest.raises(NothingBoundError, match="identical in all rows: nothing is sampled") as caught:
        regtorch.MCPredictor(make().eval(), **settings)(X)
    assert "\n" not in str(caught.value)
    names_the_zeros = "weights of zeros, as in a head that is not trained yet: 3.weight" in str(caught.value)
    assert names_the_zeros == (name not in ("times zero", "transform", "output"))


def in_both_numbers(weight: float) -> nn.Module:
    """Means that noise does not reach, logarithms of variances that it reaches."""
    model = network(weight, 0.1)
    model[3] = nn.Linear(20, 2)
    nn.init.zeros_(model[3].weight[0])
    return model


DIFFERING: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "softmax rounds to 0 and 1": (lambda: network(bias=1e4), {}),
    "sigmoid rounds to 1": (lambda: network(bias=100.0), {"transform": "sigmoid"}),
    "noise in the log variance alone": (lambda: in_both_numbers(1.0), {"transform": "gaussian"}),
    "it seldom drops": (lambda: Noisy(lambda m, h: F.dropout(h, 0.001, m.training)), {"samples": 2}),
    "one sample": (lambda: network(0.0), {"samples": 1}),
}


@pytest.mark.parametrize("name", DIFFERING)
def test_samples_that_differ_are_no_error(name: str) -> None:
    make, settings = DIFFERING[name]
    model = make().eval()
    if name == "softmax rounds to 0 and 1":
        with torch.no_grad():
            model[3].bias[1:] -= 2e4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(regtorch.MCPredictor(model, **{"samples": 20, **settings})(X)) == 5


def test_rows_that_noise_cannot_change_are_one_warning() -> None:
    model = nn.Sequential(nn.Linear(6, 20, bias=False), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3)).eval()
    predictor = regtorch.MCPredictor(model, samples=20, transform=None)
    with pytest.warns(UserWarning, match="noise has nothing to act on in these rows"):
        assert predictor(torch.zeros(3, 6)).std.max() < 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor(torch.zeros(3, 6)).std.max() < 1e-6  # it warns once
        assert predictor(torch.cat([torch.zeros(3, 6), X])).std[3:].min() > 0.01


@pytest.mark.parametrize(("drop_prob", "fails"), [(1e-7, False), (0.5, True)])
def test_dropouts_that_hardly_ever_drop_are_one_warning(drop_prob: float, fails: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(drop_prob), nn.Linear(3, 3)).eval()
    nn.init.zeros_(model[2].weight)
    predictor = regtorch.MCPredictor(model, samples=5)
    if fails:
        with pytest.raises(NothingBoundError):
            predictor(X)
        return
    with pytest.warns(UserWarning, match="1e-07, and dropped nothing"):
        assert predictor(X).std.max() == 0


@pytest.mark.parametrize("rows", range(3, 9))
def test_rounding_of_a_softmax_is_no_difference(rows: int) -> None:
    torch.manual_seed(0)
    for samples in range(2, 8):
        model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.3), nn.Linear(3, 3))
        nn.init.zeros_(model[2].weight)
        with pytest.raises(NothingBoundError, match="identical in all rows"):
            regtorch.MCPredictor(model, samples=samples)(torch.randn(rows, 6))
