"""Monte Carlo prediction: what is on, what is off, and what a sample is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import NothingBoundError, SettingError
from regtorch.mc import has_dropout


def network(dropout: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    drop = regtorch.Dropout(drop_prob=0.5) if dropout is None else dropout
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), drop, nn.Linear(16, 3))


X = torch.randn(10, 4, generator=torch.Generator().manual_seed(5))

DROPOUTS = {
    "ours": lambda: regtorch.Dropout(drop_prob=0.5),
    "torch": lambda: nn.Dropout(0.5),
    "alpha": lambda: nn.AlphaDropout(0.3),
    "gaussian": lambda: regtorch.GaussianDropout(drop_prob=0.3),
    "exact": lambda: regtorch.ExactCountDropout(drop_prob=0.3),
}


@pytest.mark.parametrize("dropout", DROPOUTS.values(), ids=DROPOUTS)
def test_moments_agree_with_a_plain_loop(dropout: object) -> None:
    model = network(dropout()).eval()
    out = regtorch.MCPredictor(model, samples=2000)(X)
    model[3].train()
    with torch.no_grad():
        loop = torch.stack([model(X).softmax(1) for _ in range(2000)])
    error = math.sqrt(2 / 2000) * loop.std(0)
    assert ((out.mean - loop.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.15, atol=1e-3)


def test_a_sample_is_a_function_of_seed_site_and_number_alone() -> None:
    model = network()
    whole = regtorch.MCPredictor(model, samples=7, seed=3)(X)
    for rows in (slice(0, 1), slice(3, 8), torch.tensor([9, 2, 2])):
        part = regtorch.MCPredictor(model, samples=7, seed=3)(X[rows])
        torch.testing.assert_close(part.mean, whole.mean[rows])
        torch.testing.assert_close(part.std, whole.std[rows])
    again = regtorch.MCPredictor(model, samples=7, seed=3)(X)
    assert torch.equal(again.mean, whole.mean)
    other = regtorch.MCPredictor(model, samples=7, seed=4)(X)
    assert not torch.allclose(other.mean, whole.mean)


def test_one_network_for_all_rows_or_one_for_each() -> None:
    same = X[:1].expand(6, 4)
    model = network()
    shared = regtorch.MCPredictor(model, samples=5)(same)
    torch.testing.assert_close(shared.mean, shared.mean[:1].expand(6, 3))
    independent = regtorch.MCPredictor(model, samples=5, masks="independent")(same)
    assert not torch.allclose(independent.mean[0], independent.mean[1])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dropout", ["ours", "torch"])
def test_modes_buffers_and_random_state_are_as_before(fails: bool, training: bool, dropout: str) -> None:
    model = network(DROPOUTS[dropout]()).train(training)
    model[0].eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = torch.get_rng_state()

    def transform(logits: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("on purpose")
        return logits

    predictor = regtorch.MCPredictor(model, samples=3, transform=transform)
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            predictor(X)
    else:
        predictor(X)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    assert "forward" not in vars(model[3])
    assert getattr(model[3], "generator", None) is None


def test_batch_normalisation_stays_in_eval_mode() -> None:
    model = network(regtorch.Dropout(drop_prob=0.0))
    torch.testing.assert_close(regtorch.MCPredictor(model, samples=3)(X).mean, model.eval()(X).softmax(1))


def test_entropies() -> None:
    model = network()
    out = regtorch.MCPredictor(model, samples=50)(X)
    entropy = -(out.mean * out.mean.log()).sum(1)
    torch.testing.assert_close(out.predictive_entropy, entropy)
    torch.testing.assert_close(out.mutual_information, out.predictive_entropy - out.expected_entropy)
    assert (out.mutual_information > 0).all()
    plain = regtorch.MCPredictor(model, samples=3, transform=None)(X)
    assert plain.predictive_entropy is None
    binary = regtorch.MCPredictor(model, samples=3, transform="sigmoid")(X)
    assert binary.predictive_entropy.shape == (10,)


def test_rows_stop_when_they_are_sure_enough() -> None:
    model = network()
    out = regtorch.MCPredictor(model, samples=400, tolerance=0.02)(X)
    used = out.samples_used
    assert used.min() >= 16
    assert len(used.unique()) > 1
    assert used.max() < 400
    alone = regtorch.MCPredictor(model, samples=int(used[0]))(X[:1])
    torch.testing.assert_close(alone.mean, out.mean[:1])
    assert (out.std / (used[:, None] - 1).sqrt() < 0.021).all()


class Own(nn.Dropout):
    """A dropout of somebody else's, with a forward of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (torch.rand_like(x) > self.p) if self.training else x


def test_a_dropout_with_a_forward_of_its_own_is_sampled_and_leaves_the_random_state() -> None:
    model = nn.Sequential(nn.Linear(4, 8), Own(0.5), nn.Linear(8, 3))
    state = torch.get_rng_state()
    one, two = (regtorch.MCPredictor(model, samples=10)(X) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.mean, two.mean)
    assert one.std.min() > 0
    assert set(vars(model[1])) == set(vars(Own(0.5)))


def test_each_dropout_draws_for_itself() -> None:
    model = nn.Sequential(regtorch.Dropout(drop_prob=0.5), regtorch.Dropout(drop_prob=0.5))
    out = regtorch.MCPredictor(model, samples=400, transform=None)(torch.ones(1, 64))
    # kept by both with probability 1/4, then 4: the variance is 3; with one mask for both it would be 4
    assert out.std.square().mean().item() == pytest.approx(3.0, rel=0.1)
    both = regtorch.MCPredictor(model, samples=1, transform=None)(torch.ones(1, 4096)).mean
    assert (both > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


ATTENTION = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "dropout": 0.3}


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformers_are_sampled_inside_too(batch_first: bool) -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(**ATTENTION, batch_first=batch_first)
    x = torch.randn(4, 4, 8)
    state = torch.get_rng_state()
    out = regtorch.MCPredictor(model, samples=600, transform=None, masks="independent")(x)
    assert torch.equal(torch.get_rng_state(), state)
    model.train()
    with torch.no_grad():
        loop = torch.stack([model(x) for _ in range(600)])
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.25, atol=0.02)
    again = regtorch.MCPredictor(model, samples=600, transform=None, masks="independent")(x)
    assert torch.equal(again.mean, out.mean)


def test_a_recurrent_layers_own_dropout_is_sampled() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, num_layers=2, dropout=0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x[None])[0][0]

    assert regtorch.MCPredictor(Last(), samples=20, transform=None)(X).std.min() > 0


def test_an_empty_batch_is_an_empty_result() -> None:
    out = regtorch.MCPredictor(network(), samples=3)(X[:0])
    assert out.mean.shape == (0, 3)
    assert out.samples_used.shape == (0,)


def test_no_dropout_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert not has_dropout(model)
    with pytest.raises(NothingBoundError, match="Sequential has no dropout layer"):
        regtorch.MCPredictor(model)(X[:, :2])


@pytest.mark.parametrize(
    "bad",
    [{"samples": 0}, {"samples": 2.5}, {"tolerance": 0.0}, {"transform": "argmax"}, {"masks": "one"}, {"seed": -1}],
)
def test_bad_settings(bad: dict) -> None:
    ((key, value),) = bad.items()
    with pytest.raises(SettingError, match=f"{key}={value}"):
        regtorch.MCPredictor(network(), **bad)


def test_a_transform_that_gives_no_finite_numbers_is_an_error() -> None:
    with pytest.raises(SettingError, match="not finite"):
        regtorch.MCPredictor(network(), transform=torch.log)(X)
