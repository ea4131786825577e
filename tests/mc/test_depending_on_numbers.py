"""Models whose way through their own code depends on the numbers: each sample goes its own way."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
SAMPLES = 800

pytestmark = pytest.mark.filterwarnings("ignore:.*sampled whole.*", "ignore:.*each has its own draws.*")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.head = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)
        self.other = nn.Linear(6, 8)


class EarlyExit(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        out = self.head(h)
        return out if out.softmax(1).max() > 0.75 else out + 3 * self.head(h * h)


class Mean(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        if h.mean() > 0:
            h = 3 * h
        return self.head(h)


class Factor(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        return self.head(h) * (1 + float(h.abs().max() > 4))


class Item(Base):
    """This one can be traced: the number is a value in the graph."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        return self.head(h) * h.abs().max().item()


class Listed(Base):
    """Neither torch's dispatcher nor the graph sees the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        return self.head(h) * (3.0 if h.tolist()[-1][0] == 0 and len(h) > 4 else 1.0)


class ThroughNumpy(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        return self.head(h) * (3.0 if np.all(h.detach().numpy()[-1, 0] == 0) and len(h) > 4 else 1.0)


class LargeBatch(Base):
    """It looks at the numbers only in batches larger than those it is tried with."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        if int(x.shape[0]) > 4 and h[-1, 0] == 0:
            h = 3 * h
        return self.head(h)


MODELS = [EarlyExit, Mean, Factor, Item, Listed, ThroughNumpy, LargeBatch]


@pytest.mark.parametrize("kind", MODELS)
def test_a_branch_on_dropped_activations_is_taken_sample_by_sample(kind: type[Base]) -> None:
    torch.manual_seed(1)
    model = kind().eval()
    out = regtorch.MCPredictor(model, samples=SAMPLES, transform=None, masks="independent")(X)
    model.drop.train()
    with torch.no_grad():
        loop = torch.stack([model(X) for _ in range(SAMPLES)])
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-6)


def test_a_branch_on_the_batch_sees_all_rows_also_where_some_have_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regtorch.mc.predictor.WORKING_SET", 1)  # otherwise few rows go through at a time
    seen: list[int] = []

    class Counting(Mean):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    x = torch.cat([20 * X, torch.zeros(60, 6)])
    predictor = regtorch.MCPredictor(Counting(), samples=20, tolerance=0.5, transform=None)
    predictor(x[:5])
    seen.clear()
    used = predictor(x).samples_used
    assert len(used.unique()) > 1
    assert set(seen) == {len(x)}


class SomeRows(Base):
    """Only rows that are hard get what drops."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.other(x)
        hard = x[:, 0] > 0
        if hard.any():
            out[hard] = self.drop(self.first(x[hard]))
        return self.head(out)


class WholeBatch(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head(self.drop(h) if x[:, 0].max() > 0 else h)


@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("kind", [SomeRows, WholeBatch])
def test_a_dropout_that_the_first_rows_do_not_meet(kind: type[Base], masks: str) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), X[X[:, 0].argsort()]
    predictor = regtorch.MCPredictor(model, samples=SAMPLES, transform=None, masks=masks)
    easy = x[x[:, 0] < 0]
    with pytest.raises(NothingBoundError, match="nothing to sample"):
        predictor(easy)
    out = predictor(x)
    model.drop.train()
    with torch.no_grad():
        loop = torch.stack([model(x) for _ in range(SAMPLES)])
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 5 * error + 1e-5).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-5)


def test_a_dropout_in_a_part_that_the_first_rows_do_not_meet() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6), SomeRows(), nn.Linear(3, 2)).eval(), X[X[:, 0].argsort()]
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(6))
        model[0].bias.zero_()
    out = regtorch.MCPredictor(model, samples=100, transform=None)(x)
    assert torch.equal(out.std.amax(1) > 1e-3, x[:, 0] > 0)


def test_rows_that_drop_alike_share_their_masks() -> None:
    torch.manual_seed(0)
    x = X[:1].abs().expand(6, 6).clone()
    x[3:, 0] = -1
    predictor = regtorch.MCPredictor(SomeRows(), samples=8, transform=None, keep_samples=True)
    samples = predictor(x).samples
    # equal but for the order of additions, which rows of one product may differ in: units in the last place
    torch.testing.assert_close(samples[:, 0], samples[:, 1], rtol=2**-22, atol=2**-23)
    torch.testing.assert_close(predictor(x[1:2]).samples[:, 0], samples[:, 0])


class Straight(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x))


class Unused(Base):
    """It draws, and makes nothing of it."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.drop(h)
        return self.head(h)


class NeverReached(Base):
    """Reads numbers, and has no dropout anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head(h if h.sum() > 0 else 2 * h)


def recorded() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls it deprecated
        return torch.jit.trace(nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval(), X)


@pytest.mark.parametrize(
    "made", [Straight, Unused, NeverReached, lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.0)), recorded]
)
def test_nothing_that_drops_is_an_error(made: type[nn.Module]) -> None:
    with pytest.raises(NothingBoundError, match="nothing to sample"):
        regtorch.MCPredictor(made(), samples=3)(X)


class Unseen(Base):
    """A path that no trial on a few rows meets, as another library computes what it depends on."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x))
        return self.head(F.dropout(h, 0.5) if float(x.detach().numpy().max()) > 100 else h)


def test_a_path_that_no_trial_meets_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = regtorch.MCPredictor._made
    monkeypatch.setattr(regtorch.MCPredictor, "_made", lambda *a, **k: made.append(1) or original(*a, **k))
    torch.manual_seed(0)
    x = torch.randn(8, 6)
    x[5:] += 1000
    predictor = regtorch.MCPredictor(Unseen(), samples=5, transform=None)
    predictor(x)
    predictor(x)
    assert len(made) == 1
