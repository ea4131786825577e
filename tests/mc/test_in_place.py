"""What a model changes in place is changed in its samples too."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
X[:, 0] = torch.tensor([-1.0, 0.5, 2.0, 1.5])
SAMPLES = 800


class InPlace(nn.Module):
    """A linear layer whose output is changed by `way`, and a head."""

    def __init__(self, way: Callable[[InPlace, Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.first, self.drop, self.head = nn.Linear(6, 8), nn.Dropout(0.5, inplace=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.way(self, x))


def as_a_statement(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    m.drop(h)
    return h


def as_a_function(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    F.dropout(h, 0.5, training=True, inplace=True)
    return h


def under_another_name(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    flat = h.view(-1)
    m.drop(h)
    return flat.view_as(h)


def of_a_part(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    m.drop(h[:, :5])
    return h


def on_top_of_what_is_computed_once(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    h.add_(m.drop(h.tanh()))
    return h


def after_the_branch(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    dropped = F.dropout(h, 0.5, training=True) + h
    h.clamp_(max=-1e3)  # the sum was taken before
    return dropped


def after_the_branch_in_later_rows(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    dropped = F.dropout(h, 0.5, training=True) + h
    h.mul_(1 + 5 * (x[:, :1] > 1).float())  # which the rows that the model is tried with do not show
    return dropped


def of_the_input(m: InPlace, x: Tensor) -> Tensor:
    m.drop(x)
    return m.first(x)


def in_a_branch(m: InPlace, x: Tensor) -> Tensor:
    h = m.first(x)
    if h.sum() < 1e9:
        m.drop(h)
    return h


def of_the_input_in_a_branch(m: InPlace, x: Tensor) -> Tensor:
    if x.sum() < 1e9:
        m.drop(x)
    return m.first(x)


WAYS = [as_a_statement, as_a_function, under_another_name, of_a_part, on_top_of_what_is_computed_once, after_the_branch,
        after_the_branch_in_later_rows, of_the_input, in_a_branch, of_the_input_in_a_branch]  # fmt: skip


@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("way", WAYS)
def test_moments_are_those_of_a_plain_loop(way: Callable[[InPlace, Tensor], Tensor], masks: str) -> None:
    torch.manual_seed(0)
    model = InPlace(way).eval()
    x = X.clone()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(sampled whole|each has its own draws).*")
        out = regtorch.MCPredictor(model, samples=SAMPLES, transform=None, masks=masks)(x)
    assert torch.equal(x, X), "the caller's batch is as before"
    model.drop.train()
    with torch.no_grad():
        loop = torch.stack([model(X.clone()) for _ in range(SAMPLES)])
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 6 * error + 1e-6).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-6)


def test_a_result_that_is_used_costs_no_split() -> None:
    model = InPlace(lambda m, x: m.drop(m.first(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = regtorch.MCPredictor(model, samples=3)
        predictor(X)
        statement = regtorch.MCPredictor(InPlace(as_a_statement), samples=3)
        statement(X)
    assert predictor.reused == statement.reused > 0.5
