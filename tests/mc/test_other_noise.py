"""Noise that is not torch's or regtorch's own dropout is what its own code draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError
from regtorch.mc import count_as_dropout

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
SAMPLES = 1500


@count_as_dropout
class Drawing(nn.Module):
    def __init__(self, draw: object) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return self.draw(x) if self.training else x


class OwnAbsolute(regtorch.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


class DropPath(nn.Module):
    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        return x * x.new_empty(len(x), 1).bernoulli_(self.keep) / self.keep if self.training else x


NOISES = {
    "normal around": lambda: Drawing(lambda x: torch.normal(x, 0.1)),
    "a distribution": lambda: Drawing(lambda x: torch.distributions.Normal(x, torch.full_like(x, 0.1)).sample()),
    "poisson": lambda: Drawing(lambda x: torch.poisson(x.exp())),
    "multinomial": lambda: Drawing(lambda x: x + torch.multinomial(torch.tensor([0.7, 0.3]).expand(len(x), 2), 1)),
    "own forward": lambda: OwnAbsolute(drop_prob=0.5),
    "drop path": lambda: DropPath(0.5),
    "numpy's number": lambda: nn.Dropout(np.float32(0.5)),
}


@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("name", NOISES)
def test_moments_are_those_of_a_plain_loop(name: str, masks: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), NOISES[name](), nn.Linear(3, 2)).eval()
    out = regtorch.MCPredictor(model, SAMPLES, transform=None, masks=masks)(X)
    model[1].train()
    with torch.no_grad():
        loop = torch.stack([model(X) for _ in range(SAMPLES)])
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.15, atol=1e-4)


def test_a_randomised_activation_stays_in_eval_mode() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 6), nn.RReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    with pytest.raises(NothingBoundError, match="nothing to sample"):
        regtorch.MCPredictor(Wrapped())(X)


class Twice(nn.Module):
    """One dropout in two places, of which the second is used first; and a value that changes before it is used."""

    def __init__(self, changes: bool) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 8), nn.Linear(4, 8), nn.Dropout(0.5)
        self.a, self.b, self.changes = nn.Linear(8, 2), nn.Linear(8, 2), changes

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        one, two = self.drop(h), self.drop(self.second(x))
        if self.changes:
            h.add_(1)
        two = self.b(two)
        return self.a(one) + 2 * two


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("changes", [False, True])
def test_a_row_does_not_depend_on_the_batch_where_one_dropout_stands_in_two_places(changes: bool) -> None:
    torch.manual_seed(0)
    predictor = regtorch.MCPredictor(Twice(changes), samples=6, transform=None, keep_samples=True)
    x = X.repeat(4, 1)
    torch.testing.assert_close(predictor(x).samples[:, :1], predictor(x[:1]).samples)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("centre", [Centred, lambda: nn.BatchNorm1d(6, track_running_stats=False)])
def test_rows_that_depend_on_each_other_go_together(centre: object, masks: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), centre(), nn.Linear(6, 3))
    predictor = regtorch.MCPredictor(model, samples=5, transform=None, masks=masks)
    predictor(torch.zeros(4, 4))
    assert not predictor._plan(regtorch.mc.predictor.Inputs((torch.zeros(4, 4),), {}))[1].foldable
    predictor.max_batch = 2
    with pytest.warns(UserWarning, match="rows of Sequential depend on each other"):
        predictor(torch.ones(4, 4))


def test_batches_of_the_same_data_draw_anew_where_rows_are_independent() -> None:
    predictor = regtorch.MCPredictor(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), samples=5, masks="independent")
    one, two = (predictor.from_row(row, X).mean for row in (0, 128))
    assert not torch.equal(one, two)
    assert torch.equal(one, predictor(X).mean)
