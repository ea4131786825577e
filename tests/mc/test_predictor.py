"""Monte Carlo prediction: what is on, what is off, and what a sample is."""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.stats
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
    together = regtorch.MCPredictor(model, samples=7, seed=3)(X)
    for rows in (slice(0, 1), slice(3, 8), torch.tensor([9, 2, 2])):
        part = regtorch.MCPredictor(model, samples=7, seed=3)(X[rows])
        torch.testing.assert_close(part.mean, together.mean[rows])
        torch.testing.assert_close(part.std, together.std[rows])
    again = regtorch.MCPredictor(model, samples=7, seed=3)(X)
    assert torch.equal(again.mean, together.mean)
    other = regtorch.MCPredictor(model, samples=7, seed=4)(X)
    assert not torch.allclose(other.mean, together.mean)


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
    model = network(regtorch.Dropout(drop_prob=1e-9))
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
    assert (out.std / (used[:, None] - 1).sqrt() < 0.02 * (1 + 1e-5)).all()


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


def test_a_dropout_that_is_called_twice_draws_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.drop(x), self.drop(x)], 1)

    kept = regtorch.MCPredictor(Twice(), samples=400, transform=None, keep_samples=True)(torch.ones(1, 64)).samples
    first, second = (kept[:, 0, call].flatten() for call in (0, 1))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 6 / len(first) ** 0.5


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
def test_a_model_that_takes_few_rows_at_a_time_is_given_few() -> None:
    class Few(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 3:
                raise ValueError("three rows at most")
            return self.drop(x)

    kept = regtorch.MCPredictor(Few(), samples=5, transform=None, keep_samples=True)(torch.ones(3, 4)).samples
    assert kept.shape == (5, 3, 4)
    assert set(kept.unique().tolist()) == {0.0, 2.0}


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


@pytest.mark.parametrize(
    ("masks", "max_batch", "seeds"),
    [
        ("shared", 1, 60),
        ("independent", None, 60),
        *(pytest.param(*case, 240, marks=pytest.mark.slow) for case in product(("shared", "independent"), (None, 1))),
    ],
)
def test_the_mean_errs_as_the_exact_distribution_says(masks: str, max_batch: int | None, seeds: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1), nn.Tanh()).eval()
    units = model[1](model[0](X[:1])).detach()
    kept = torch.tensor(list(product([0.0, 1.0], repeat=8)))  # every mask there is, and how likely it is
    likely = (0.7**kept * 0.3 ** (1 - kept)).prod(1)
    with torch.no_grad():
        outputs = model[4](model[3](units * kept / 0.7))[:, 0]
    mean = (likely * outputs).sum()
    std = (likely * (outputs - mean) ** 2).sum().sqrt()
    samples = 40
    z = []
    for seed in range(seeds):
        out = regtorch.MCPredictor(model, samples, transform=None, seed=seed, masks=masks, max_batch=max_batch)(X[:1])
        z.append(((out.mean[0, 0] - mean) / (std / math.sqrt(samples))).item())
    assert max(map(abs, z)) < 6
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-3


def test_only_the_part_after_the_dropout_is_run_for_every_sample() -> None:
    rows: dict[str, int] = {"before": 0, "after": 0}

    model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    for index, part in ((0, "before"), (2, "after")):
        model[index].register_forward_hook(lambda m, i, out, part=part: rows.update({part: rows[part] + len(out)}))
    predictor = regtorch.MCPredictor(model, samples=50)
    predictor(X)
    rows.update(before=0, after=0)
    predictor(X)
    assert rows == {"before": 10, "after": 500}


def two_places() -> nn.Module:
    torch.manual_seed(0)
    twice = nn.Dropout(0.4)  # one module that stands in two places has its own draws in each
    layers = [
        regtorch.AlphaDropout(drop_prob=0.3),
        nn.Linear(4, 6),
        nn.SELU(),
        twice,
        nn.Linear(6, 5),
        nn.Tanh(),
        twice,
    ]
    return nn.Sequential(*layers, nn.Linear(5, 3)).double()


def test_noise_in_the_weights_is_that_of_the_activations() -> None:
    model, x = two_places(), X.double()
    settings = {"samples": 12, "transform": None, "keep_samples": True}
    one_by_one = regtorch.MCPredictor(model, **settings, max_batch=1)(x)  # a single row: scales what goes in
    for max_batch in (10, 30, None):  # ten rows: the weights of one sample, of three, of all
        out = regtorch.MCPredictor(model, **settings, max_batch=max_batch)(x)
        torch.testing.assert_close(out.samples, one_by_one.samples, rtol=1e-10, atol=1e-12)


def doubled(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


HANGINGS = [(how, place) for how in ("hook", "pre-hook") for place in (0, 1, 3, 4)] + [("forward", 1), ("forward", 4)]


@pytest.mark.parametrize(("how", "place"), HANGINGS)
def test_what_others_hang_on_a_layer_is_run(how: str, place: int) -> None:
    model, x = two_places(), X.double()
    layer = model[place]
    if how == "hook":
        layer.register_forward_hook(doubled)
    elif how == "pre-hook":
        layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    else:
        layer.forward = lambda value: 2 * type(layer).forward(layer, value)
    settings = {"samples": 12, "transform": None, "keep_samples": True}
    one_by_one = regtorch.MCPredictor(model, **settings, max_batch=1)(x)
    torch.testing.assert_close(
        regtorch.MCPredictor(model, **settings)(x).samples, one_by_one.samples, rtol=1e-10, atol=1e-12
    )


def test_samples_on_request_are_what_the_moments_are_of() -> None:
    model = network()
    assert regtorch.MCPredictor(model, samples=9)(X).samples is None
    out = regtorch.MCPredictor(model, samples=9, keep_samples=True, max_batch=20)(X)
    assert out.samples.shape == (9, 10, 3)
    torch.testing.assert_close(out.samples.mean(0), out.mean)
    torch.testing.assert_close(out.samples.std(0, correction=0), out.std)
    torch.testing.assert_close(out.variance, out.std**2)
    votes = torch.stack([(out.samples.argmax(2) == c).float().mean(0) for c in range(3)])
    torch.testing.assert_close(out.variation_ratio, 1 - votes.amax(0))
    expected = -(out.samples * out.samples.log()).sum(2).mean(0)
    torch.testing.assert_close(out.expected_entropy, expected)
    stopped = regtorch.MCPredictor(model, samples=400, tolerance=0.02, keep_samples=True)(X)
    taken = (~stopped.samples.isnan()).all(2).sum(0)
    assert torch.equal(taken, stopped.samples_used)


def test_regression_adds_the_noise_that_the_model_or_the_caller_names() -> None:
    model = network()
    plain = regtorch.MCPredictor(model, samples=30, transform=None, noise_variance=0.25)(X)
    torch.testing.assert_close(plain.variance, plain.std**2 + 0.25)
    pair = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4), nn.Linear(8, 4))
    out = regtorch.MCPredictor(pair, samples=30, transform="gaussian")(X)
    raw = regtorch.MCPredictor(pair, samples=30, transform=None, keep_samples=True)(X).samples
    torch.testing.assert_close(out.mean, raw[..., :2].mean(0))
    torch.testing.assert_close(out.variance, raw[..., :2].var(0, correction=0) + raw[..., 2:].exp().mean(0))
    assert out.predictive_entropy is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_have_the_same_networks(dtype: torch.dtype) -> None:
    model = network()
    wanted = regtorch.MCPredictor(model, samples=20)(X)
    out = regtorch.MCPredictor(model.to(dtype), samples=20)(X.to(dtype))
    assert out.mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(out.mean.float(), wanted.mean, atol=4e-3, rtol=0)
    torch.testing.assert_close(out.std.float(), wanted.std, atol=4e-3, rtol=0)


def test_autocast_has_the_same_networks() -> None:
    model = network()
    wanted = regtorch.MCPredictor(model, samples=20)(X)
    predictor = regtorch.MCPredictor(model, samples=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = predictor(X)
    assert not torch.equal(out.mean, wanted.mean)
    torch.testing.assert_close(out.mean, wanted.mean, atol=4e-3, rtol=0)
    assert torch.equal(predictor(X).mean, wanted.mean), "outside autocast as before"


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(2, 8)
        self.drop, self.head = nn.Dropout(0.4), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        assert len(weights) == 8
        return self.head(self.drop(torch.relu(self.first(x) + self.second(y))) * weights) * scale


def test_several_inputs_some_of_which_have_no_rows() -> None:
    model, y, weights = TwoInputs(), torch.randn(10, 2), torch.rand(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = regtorch.MCPredictor(model, samples=9, max_batch=18)(X, y, weights=weights, scale=3.0)
        part = regtorch.MCPredictor(model, samples=9)(X[4:6], y[4:6], weights=weights, scale=3.0)
    torch.testing.assert_close(part.mean, together.mean[4:6])


def test_a_plan_follows_the_model() -> None:
    model = network(nn.Dropout(0.5))
    predictor = regtorch.MCPredictor(model, samples=20, transform=None)
    before = predictor(X)
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert not torch.allclose(predictor(X).mean, before.mean)
    model[3].p = 0.0
    with pytest.raises(NothingBoundError, match="nothing to sample"):
        predictor(X)
    model[3] = nn.AlphaDropout(0.4)
    assert predictor(X).std.min() > 0
    model.insert(0, nn.Dropout(0.2))
    torch.testing.assert_close(predictor(X).mean, regtorch.MCPredictor(model, samples=20, transform=None)(X).mean)


def test_compiled_and_scripted_models() -> None:
    model = network(nn.Dropout(0.5))
    wanted = regtorch.MCPredictor(model, samples=20)(X)
    assert torch.equal(regtorch.MCPredictor(torch.compile(model), samples=20)(X).mean, wanted.mean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(network(nn.Dropout(0.5)).eval())
        out = regtorch.MCPredictor(scripted, samples=400)(X)
        part = regtorch.MCPredictor(scripted, samples=400)(X[2:4])
    assert ((out.mean - regtorch.MCPredictor(model, samples=400)(X).mean).abs() < 0.03).all()
    torch.testing.assert_close(part.mean, out.mean[2:4])


def test_inside_inference_mode() -> None:
    model = network()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        out = regtorch.MCPredictor(model, samples=20)(X.clone())
    assert torch.equal(out.mean, regtorch.MCPredictor(model, samples=20)(X).mean)


@pytest.mark.parametrize("given", [(), (None,), (np.zeros((2, 4)),), (torch.tensor(1.0),)])
def test_what_is_no_batch_is_refused(given: tuple) -> None:
    with pytest.raises(SettingError, match="takes a batch, a tensor with a row for each example"):
        regtorch.MCPredictor(network())(*given)


def test_predictions_without_a_row_for_each_example_are_refused() -> None:
    with pytest.raises(SettingError, match="must have a row for each"):
        regtorch.MCPredictor(network(), transform=lambda logits: logits.sum())(X)
    with pytest.raises(SettingError, match="no classes"):
        regtorch.MCPredictor(nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5), nn.Flatten(0)))(X)
    with pytest.raises(SettingError, match="the model gives a tuple"):
        regtorch.MCPredictor(nn.LSTM(4, 3, num_layers=2, dropout=0.5))(X[None])


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(x.view(10, 4)))


def test_a_model_for_one_batch_size_is_sampled_with_all_its_rows() -> None:
    torch.manual_seed(0)
    model, x = FixedBatch(), torch.randn(10, 4)
    out = regtorch.MCPredictor(model, samples=1000, transform=None)(x)
    with torch.no_grad():
        loop = torch.stack([model.train()(x) for _ in range(1000)])
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        regtorch.MCPredictor(network())(torch.ones(10, 7))


class Both(nn.Module):
    """Drops by itself, and normalises over the batch when it is in training mode: that must not happen."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.dropout(self.linear(x), 0.5, self.training)
        return x - x.mean(0) if self.norm and self.training else x


def test_a_module_that_does_more_than_drop_stays_in_eval_mode() -> None:
    assert regtorch.MCPredictor(Both(norm=False), samples=9)(X).std.min() > 0
    model = nn.Sequential(Both(norm=True), nn.Dropout(0.1))
    with pytest.warns(UserWarning, match="Both does more in training mode than drop"):
        out = regtorch.MCPredictor(model, samples=500, transform=None)(X)
    torch.testing.assert_close(out.mean, model.eval()(X), rtol=0.1, atol=0.05)


def test_finding_out_what_a_module_does_leaves_its_buffers() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training  # by which it does more in training mode than drop
            return nn.functional.dropout(x, 0.5, self.training) + self.calls

    model = nn.Sequential(Counting(), nn.Dropout(0.5)).eval()
    with pytest.warns(UserWarning, match="Counting does more in training mode than drop"):
        out = regtorch.MCPredictor(model, samples=200, transform=None, keep_samples=True)(X.abs())
    assert model[0].calls == 0
    dropped = out.samples == 0
    torch.testing.assert_close(out.samples, torch.where(dropped, 0.0, 2 * X.abs().expand(200, -1, -1)))
    assert dropped.double().mean() == pytest.approx(0.5, abs=0.1)


def test_a_progress_bar_on_long_work(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = regtorch.MCPredictor(network(), samples=30, progress=True, max_batch=10)
    predictor(X)
    assert "MC prediction" in capsys.readouterr().err
    predictor.progress = None
    predictor(X)
    assert capsys.readouterr().err == "", "no bar where there is no terminal"


def test_an_empty_batch_is_an_empty_result() -> None:
    state = torch.get_rng_state()
    out = regtorch.MCPredictor(network(Own(0.5)), samples=3)(X[:0])
    assert torch.equal(torch.get_rng_state(), state)
    assert out.mean.shape == (0, 3)
    assert out.samples_used.shape == (0,)


def test_no_dropout_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert not has_dropout(model)
    with pytest.raises(NothingBoundError, match="Sequential has no dropout layer"):
        regtorch.MCPredictor(model)(X[:, :2])


@pytest.mark.parametrize(
    "bad",
    [
        {"samples": 0},
        {"samples": 2.5},
        {"min_samples": 1},
        {"max_batch": 0},
        {"tolerance": 0.0},
        {"transform": "argmax"},
        {"masks": "one"},
        {"seed": -1},
    ],
)
def test_bad_settings(bad: dict) -> None:
    ((key, value),) = bad.items()
    with pytest.raises(SettingError, match=f"{key}={value}"):
        regtorch.MCPredictor(network(), **bad)


def test_a_transform_that_gives_no_finite_numbers_is_an_error() -> None:
    with pytest.raises(SettingError, match="not finite"):
        regtorch.MCPredictor(network(), transform=torch.log)(X)


@pytest.mark.parametrize("given", [None, network, X, regtorch.MCPredictor(network()), nn.Linear])
def test_what_is_no_module_is_refused(given: object) -> None:
    for use in (regtorch.MCPredictor, regtorch.always_on):
        with pytest.raises(SettingError, match=r"^model=.* is not allowed: it must be a torch.nn.Module$"):
            use(given)


def test_numpy_s_whole_numbers_are_whole_numbers() -> None:
    model = network()
    settings = {"samples": 5, "seed": 1, "min_samples": 4, "max_batch": 20, "keep_samples": True}
    out = regtorch.MCPredictor(model, **{k: v if v is True else np.int64(v) for k, v in settings.items()})(X)
    assert torch.equal(out.samples, regtorch.MCPredictor(model, **settings)(X).samples)
    with pytest.raises(SettingError, match="samples='5' is not allowed"):
        regtorch.MCPredictor(model, samples="5")
    with pytest.raises(SettingError, match="samples=True is not allowed"):
        regtorch.MCPredictor(model, samples=True)
    with pytest.raises(SettingError, match="progress=yes is not allowed"):
        regtorch.MCPredictor(model, progress="yes")


class Giving(nn.Module):
    """Gives its dropped input in another kind of numbers."""

    def __init__(self, change: object) -> None:
        super().__init__()
        self.drop, self.change = nn.Dropout(0.5), change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.change(self.drop(x.abs() + 1))


def test_whole_numbers_and_truth_values_have_moments_and_complex_ones_not() -> None:
    for change in (lambda x: x.long(), lambda x: x > 0):
        out = regtorch.MCPredictor(Giving(change), samples=50, transform=None)(X)
        assert out.mean.dtype == torch.float32
        assert out.std.min() > 0
    with pytest.raises(SettingError, match="complex numbers"):
        regtorch.MCPredictor(Giving(lambda x: x + 1j), transform=None)(X)
    for transform in (None, "softmax", lambda x: x):
        with pytest.raises(SettingError, match=r"shape \(\d+, 0\).*nothing in a row"):
            regtorch.MCPredictor(Giving(lambda x: x[:, :0]), transform=transform)(X)


def test_wrappers_that_only_run_a_model_change_no_mask() -> None:
    model = network()
    wanted = regtorch.MCPredictor(model, samples=5)(X).mean
    for wrapped in (nn.DataParallel(model), torch.compile(nn.DataParallel(model))):
        assert torch.equal(regtorch.MCPredictor(wrapped, samples=5)(X).mean, wanted)
    inside = regtorch.MCPredictor(nn.Sequential(model), samples=5)(X).mean
    assert not torch.equal(inside, wanted), "there its dropout has another name"
