"""Noise that is not torch's or regtorch's own dropout is what its own code draws."""

from __future__ import annotations

import random
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.mc import count_as_dropout
from tests.testers.tiers import slow_unless

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
    "a tensor": lambda: nn.Dropout(torch.tensor(0.5)),
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


class Noisy(nn.Module):
    """Random numbers in its own code, by one way or another."""

    def __init__(self, noise: object) -> None:
        super().__init__()
        self.first, self.last, self.noise = nn.Linear(4, 16), nn.Linear(16, 2), noise
        self.small = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.small(self.noise(self, self.first(x))))


def helper(h: Tensor, training: bool) -> Tensor:
    return F.dropout(h, 0.5, training)


def draws_of_numpy(m: nn.Module, h: Tensor) -> Tensor:
    return h * float(np.random.uniform(0.5, 1.5)) if m.training else h


def layer_drop(m: nn.Module, h: Tensor) -> Tensor:
    return h if m.training and torch.rand([]).item() < 0.4 else h.relu()


def layer_drop_of_python(m: nn.Module, h: Tensor) -> Tensor:
    return h if m.training and random.random() < 0.4 else h.relu()


def own_generator(m: nn.Module, h: Tensor) -> Tensor:
    if "generator" not in vars(m):
        vars(m)["generator"] = torch.Generator().manual_seed(1)
    return h * (torch.rand(h.shape, generator=vars(m)["generator"]) > 0.3) if m.training else h


def own_generator_by_position(m: nn.Module, h: Tensor) -> Tensor:
    if "generator" not in vars(m):
        vars(m)["generator"] = torch.Generator().manual_seed(1)
    return h * torch.poisson(torch.full_like(h, 2.0), vars(m)["generator"]) if m.training else h


def attend(**arguments: object) -> object:
    def way(m: nn.Module, h: Tensor) -> Tensor:
        parts = h.view(-1, 4, 4)
        p = 0.5 if m.training else 0.0
        return F.scaled_dot_product_attention(query=parts, key=parts, value=parts, dropout_p=p, **arguments).flatten(1)

    return way


OWN_CODE = {
    "helper": lambda m, h: helper(h, m.training),
    "partial": lambda m, h: partial(F.dropout, p=0.5)(h, training=m.training),
    "of a tensor": lambda m, h: F.dropout(h, torch.tensor(0.3) + 0.2, m.training),
    "of a parameter": lambda m, h: F.dropout(h, (m.last.bias.sum() * 0).sigmoid(), m.training),
    "of a tensor, other dropout": lambda m, h: F.alpha_dropout(h, torch.tensor(0.4), m.training),
    "of the batch": lambda m, h: F.dropout(h, (h.mean() * 0.1).sigmoid(), m.training),
    "of a setting": lambda m, h: F.dropout(h, m.small.p * 5, m.training),
    "bernoulli": lambda m, h: h * torch.bernoulli(torch.full_like(h, 0.5)) if m.training else h,
    "distribution": lambda m, h: (
        h * torch.distributions.Bernoulli(torch.full_like(h, 0.5)).sample() if m.training else h
    ),
    "normal": lambda m, h: h + torch.normal(0.0, 1.0, h.shape) if m.training else h,
    "uniform in place": lambda m, h: h * (h.new_empty(h.shape).uniform_() > 0.5) * 2 if m.training else h,
    "permutation": lambda m, h: h[:, torch.randperm(h.shape[1])] if m.training else h,
    "numpy": draws_of_numpy,
    "layer drop": layer_drop,
    "layer drop of Python": layer_drop_of_python,
    "own generator": own_generator,
    "own generator, by position": own_generator_by_position,
    "attention": attend(),
    "attention, causal": attend(is_causal=True),
    "attention, masked": attend(attn_mask=torch.zeros(4, 4)),
    "always": lambda m, h: F.dropout(h, 0.5),
    "randomized activation": lambda m, h: F.rrelu(h, training=m.training),
}


#: one of each kind: of torch, its generators, NumPy and Python, in functions, tensors and layers
BY_DEFAULT = {
    *("own generator", "numpy", "permutation", "of a parameter", "attention", "layer drop of Python", "distribution"),
    *("normal", "of the batch", "of a tensor, other dropout", "randomized activation", "uniform in place"),
}
assert set(OWN_CODE) > BY_DEFAULT


@pytest.mark.parametrize("name", slow_unless(BY_DEFAULT.__contains__, OWN_CODE))
def test_noise_in_own_code_is_that_of_a_plain_loop(name: str) -> None:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    model = Noisy(OWN_CODE[name]).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = regtorch.MCPredictor(model, SAMPLES, transform=None)(X)
    assert not [w for w in caught if "does more" in str(w.message)]
    always = regtorch.always_on(model).eval()
    with torch.no_grad():
        switched = torch.stack([always(X) for _ in range(SAMPLES)])
        loop = torch.stack([model.train()(X) for _ in range(SAMPLES)])
    for mean, std in ((out.mean, out.std), (switched.mean(0), switched.std(0))):
        error = ((loop.var(0) + std**2) / SAMPLES).sqrt()
        assert ((mean - loop.mean(0)).abs() < 6 * error).all()
        torch.testing.assert_close(std, loop.std(0), rtol=0.15, atol=1e-4)
    (site,) = [site for site in regtorch.mc.sampled_modules(model, X) if site.name == ""]
    assert site.sampled


def test_python_s_own_random_state_is_as_before() -> None:
    model = Noisy(layer_drop_of_python)
    before = random.getstate(), np.random.get_state()[1].tolist()
    predictor = regtorch.MCPredictor(model, samples=5, transform=None)
    first = predictor(X).mean
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.random()
    assert torch.equal(predictor(X).mean, first), "the same seed gives the same samples"


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
    assert not predictor._plan(regtorch.mc.predictor.BatchArgs((torch.zeros(4, 4),), {})).partition.folds_samples
    predictor.max_batch = 2
    with pytest.warns(UserWarning, match="rows of Sequential depend on each other"):
        predictor(torch.ones(4, 4))


def test_batches_of_the_same_data_have_their_own_draws_where_rows_are_independent() -> None:
    predictor = regtorch.MCPredictor(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), samples=5, masks="independent")
    one, two = (predictor.from_row(row, X).mean for row in (0, 128))
    assert not torch.equal(one, two)
    assert torch.equal(one, predictor(X).mean)


class Unregistered(nn.Module):
    """Its dropout is in a plain list, so that nothing can switch it off."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drops = nn.Linear(4, 8), [nn.Dropout(0.5)]

    def forward(self, x: Tensor) -> Tensor:
        return self.drops[0](self.linear(x))


def test_a_dropout_that_is_no_submodule_counts_as_its_caller_s_own_code() -> None:
    model = Unregistered().eval()
    (site,) = regtorch.mc.sampled_modules(model, X)
    assert (site.name, site.kind, site.sampled) == ("", "Unregistered", True)
    assert regtorch.MCPredictor(model, samples=20, transform=None)(X).std.min() > 0
    active = regtorch.always_on(model).eval()
    assert not torch.equal(active(X), active(X))


class WithCache(nn.Module):
    """Layers are dropped, and each that ran leaves a tensor, as the cache of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(Cached() for _ in range(1)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        cache: list[Tensor] = []
        for layer in self.layers:
            x = layer(x, cache)
        return self.head(x) + sum(part.sum(1, keepdim=True) for part in cache)


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor, cache: list[Tensor]) -> Tensor:
        if self.training and torch.rand([]) < 0.5:
            return x
        cache.append(self.linear(x))
        return x + cache[-1]


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("seed", range(4))
def test_layers_that_are_dropped_with_what_they_leave(seed: int) -> None:
    torch.manual_seed(0)
    model = WithCache().eval()
    out = regtorch.MCPredictor(model, samples=400, transform=None, seed=seed)(X)
    with torch.no_grad():
        loop = torch.stack([model.train()(X) for _ in range(400)])
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-3)


class WithAuxiliaryHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)
        self.auxiliary = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> object:
        h = self.drop(self.body(x))
        return (h, self.auxiliary(h)) if self.training else h


def test_a_head_that_evaluation_does_not_run_is_no_noise_that_is_left_out() -> None:
    model = WithAuxiliaryHead()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regtorch.MCPredictor(model, samples=5, transform=None)(X).std.max() > 0
    reasons = {site.name: site.reason for site in regtorch.mc.sampled_modules(model, X)}
    assert reasons == {"drop": "", "auxiliary.1": "it is not run in eval mode"}


class OneForAll(nn.Module):
    """A draw that has no rows, by an operation that draws its entries together."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layers, self.way, self.drop = nn.ModuleList(nn.Linear(4, 4) for _ in range(3)), way, nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(3)
        if self.training:
            order = torch.randperm(3) if "order" in self.way else torch.multinomial(torch.ones(3), 2)
        for index in order.tolist():
            x = self.layers[index](x).tanh()
        return self.drop(x) if "dropout" in self.way else x


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("way", ["order", "choice", "order and dropout", "choice and dropout"])
def test_a_draw_without_rows_is_one_draw_for_all_parts_of_a_batch(way: str) -> None:
    torch.manual_seed(0)
    model, x = OneForAll(way), torch.randn(7, 4)
    predict = partial(regtorch.MCPredictor, model, samples=8, transform=None, keep_samples=True)
    wanted = predict()(x).samples
    torch.testing.assert_close(predict(max_batch=3)(x).samples, wanted)
    torch.testing.assert_close(predict().from_row(4, x[4:]).samples, wanted[:, 4:])
    torch.testing.assert_close(predict()(x[[5, 0]]).samples, wanted[:, [5, 0]])


class DropsLayers(nn.Module):
    """Layers are dropped with the dropouts in them, so that each sample meets others."""

    def __init__(self, own_code: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Tanh()) for _ in range(5))
        self.own_code = own_code

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if self.training and torch.rand([]) < 0.7:
                continue
            x = F.dropout(x + layer(x), 0.2, self.training) if self.own_code else x + layer(x)
        return x


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("own_code", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_dropouts_in_layers_that_the_first_samples_drop_have_shared_masks(seed: int, own_code: bool) -> None:
    torch.manual_seed(0)
    model, x = DropsLayers(own_code), torch.randn(6, 4)
    predict = partial(regtorch.MCPredictor, model, samples=60, transform=None, seed=seed, keep_samples=True)
    wanted = predict()(x).samples
    torch.testing.assert_close(predict()(x[[4, 0]]).samples, wanted[:, [4, 0]])
    torch.testing.assert_close(predict(max_batch=4)(x).samples, wanted)
