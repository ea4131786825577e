"""One mask for all time steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import SettingError
from regtorch.testing.dropout import seeded


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_mask_is_the_same_at_every_step(batch_first: bool, shared: bool) -> None:
    drop = regtorch.VariationalDropout(drop_prob=0.4, batch_first=batch_first)
    drop.generator, drop.shared = seeded(0), shared
    rows, time = 300, 7
    y = drop(torch.ones(rows, time, 50) if batch_first else torch.ones(time, rows, 50))
    y = y if batch_first else y.transpose(0, 1)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert torch.equal(y, y[:1].expand_as(y)) == shared
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.6]))
    draws = 50 if shared else rows * 50
    assert (y == 0).double().mean() == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / draws))


def test_a_single_step_is_ordinary_dropout() -> None:
    for batch_first in (True, False):
        drop = regtorch.VariationalDropout(drop_prob=0.5, batch_first=batch_first)
        drop.generator = seeded(0)
        ordinary = regtorch.Dropout(drop_prob=0.5)
        ordinary.generator = seeded(0)
        assert torch.equal(drop(torch.ones(20, 30)), ordinary(torch.ones(20, 30)))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for batch_first, wanted in ((True, r"\(batch, time"), (False, r"\(time, batch")):
        drop = regtorch.VariationalDropout(drop_prob=0.5, batch_first=batch_first)
        for module in (drop, drop.eval()):
            with pytest.raises(SettingError, match=wanted):
                module(torch.ones(shape))


class Tagger(nn.Module):
    """A recurrent network with a locked dropout before and after it."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.before = regtorch.VariationalDropout(drop_prob=0.3, batch_first=batch_first)
        self.rnn = nn.GRU(5, 8, batch_first=batch_first)
        self.after = regtorch.VariationalDropout(drop_prob=0.3, batch_first=batch_first)
        self.head = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.after(self.rnn(self.before(x))[0])
        return self.head(x if self.batch_first else x.transpose(0, 1))


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_monte_carlo_sample_uses_one_network_for_all_rows_and_steps(batch_first: bool) -> None:
    torch.manual_seed(0)
    model, x = Tagger(batch_first).eval(), torch.randn(4, 6, 5)
    predict = regtorch.MCPredictor(model, samples=400, transform=None, keep_samples=True, seed=3)
    out = predict(x)
    torch.testing.assert_close(predict(x[[2, 0]]).mean, out.mean[[2, 0]], rtol=1e-4, atol=1e-5)
    model.train()
    torch.manual_seed(1)
    with torch.no_grad():
        loop = torch.stack([model(x) for _ in range(400)])
    error = loop.std(dim=0) / math.sqrt(200)  # standard error of the difference of two means of 400
    assert ((out.mean - loop.mean(dim=0)).abs() <= 5 * error).all()
    assert ((out.std / loop.std(dim=0)).log().abs() < 0.3).all()
    alone = nn.Sequential(nn.Identity(), model.before)
    ones = torch.ones(4, 6, 5) if batch_first else torch.ones(6, 4, 5)
    if batch_first:
        samples = regtorch.MCPredictor(alone, samples=30, transform=None, keep_samples=True)(ones).samples
        assert samples.std() > 0
        for dim in range(samples.ndim):
            if samples.shape[dim] in (4, 6):  # rows and steps have one mask
                first = samples.narrow(dim, 0, 1)
                assert torch.equal(samples, first.expand_as(samples))
