"""Noise whose flag is another module's mode is sampled all the same, or refused with a warning."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.mc import sampled_modules

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
SAMPLES = 400


class Asking(nn.Module):
    """Drops while another module is in training mode, which is no part of it."""

    def __init__(self, *others: nn.Module) -> None:
        super().__init__()
        vars(self)["others"] = others

    def forward(self, h: Tensor) -> Tensor:
        return F.dropout(h, 0.3, all(other.training for other in vars(self)["others"]))


class Model(nn.Module):
    """One noise, beside a dropout that seldom drops."""

    def __init__(self, noise: object, *, beside: bool = True) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Linear(6, 16), nn.Linear(16, 2), nn.BatchNorm1d(16)
        self.small = nn.Dropout(1e-3 if beside else 0.0)
        self.noise, self.asking = noise, nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        h = self.small(self.noise(self, self.norm(self.first(x))))
        for part in self.asking:
            h = part(h)
        return self.last(h)


def nothing(model: Model, h: Tensor) -> Tensor:
    return h


def asking(*chosen: str) -> object:
    def build(**settings: bool) -> Model:
        model = Model(nothing, **settings)
        for names in chosen:
            model.asking.append(Asking(*(getattr(model, name) for name in names.split())))
        return model

    return build


def own_code(noise: object) -> object:
    return lambda **settings: Model(noise, **settings)


MODELS = {
    "flag of a layer before": own_code(lambda m, h: F.dropout(h, 0.5, m.first.training)),
    "flag of a layer after": own_code(lambda m, h: F.dropout(h, 0.5, m.last.training)),
    "flags of two layers": own_code(lambda m, h: F.dropout(h, 0.5, m.first.training and m.last.training)),
    "child with a reference": asking("first"),
    "child with two references": asking("last first"),
    "children with the same and other flags": asking("first", "last", "first", "first last"),
    "own random numbers": own_code(lambda m, h: h * (1 + torch.randn_like(h)) if m.last.training else h),
    "a random path": own_code(lambda m, h: F.dropout(h, 0.5, m.last.training and bool(torch.rand([]) < 0.7))),
}


def model_of(name: str, **settings: bool) -> Model:
    torch.manual_seed(0)
    model: Model = MODELS[name](**settings)
    return model.eval()


def loop_of(model: nn.Module) -> Tensor:
    model.train()
    model.norm.eval()
    with torch.no_grad():
        return torch.stack([model(X) for _ in range(SAMPLES)])


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_the_flag_of_another_module_is_found(name: str, beside: bool) -> None:
    model = model_of(name, beside=beside)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*not sampled.*")
        predictor = regtorch.MCPredictor(model, SAMPLES, transform=None)
        std = predictor(X).std
        always = regtorch.always_on(model).eval()
        with torch.no_grad():
            switched = torch.stack([always.eval()(X) for _ in range(SAMPLES)])
    assert all(site.sampled for site in predictor.sampled_modules)
    wanted = loop_of(model).std(0)
    torch.testing.assert_close(std, wanted, rtol=0.25, atol=1e-2)
    torch.testing.assert_close(switched.std(0), wanted, rtol=0.25, atol=1e-2)


class Heads(nn.Module):
    """In training mode it gives more, and its child drops only then."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.flag, self.body, self.drop = nn.Linear(6, 6), nn.Linear(6, 3), nn.Dropout(0.5)
        self.counter = Counting()
        self.child = Asking(self.counter, self.flag) if second else Asking(self.counter)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.counter(self.child(self.body(x))))


class Counting(nn.Module):
    """Does more in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


@pytest.mark.parametrize("second", [False, True])
def test_noise_that_needs_a_module_that_does_more_is_refused_with_a_warning(second: bool) -> None:
    model = Heads(second).eval()
    predictor = regtorch.MCPredictor(model, SAMPLES, transform=None)
    with pytest.warns(UserWarning, match=r"Asking.*not sampled") as caught:
        mean = predictor(X).mean
    assert len(caught) == 1
    assert {site.kind: site.sampled for site in predictor.sampled_modules} == {"Asking": False, "Dropout": True}
    assert (mean - model(X)).abs().max() < model(X).abs().max() / 4, "what does more stays in eval mode"


def test_what_is_chosen_has_what_it_needs_and_what_must_draw_with_it_cannot_be_left_out() -> None:
    model = model_of("children with the same and other flags")
    predictor = regtorch.MCPredictor(model, SAMPLES, transform=None, only="asking.1")
    found = predictor(X)
    assert [site.name for site in predictor.sampled_modules if site.sampled] == ["asking.1"]
    predictor = regtorch.MCPredictor(model, SAMPLES, transform=None, only="asking.2")
    with pytest.raises(regtorch.SettingError, match=r"asking\.0 draws random numbers as soon as what is chosen does"):
        predictor(X)
    for index in (0, 2, 3):
        model.asking[index] = nn.Identity()
    model.small.p = 0.0
    torch.testing.assert_close(found.std, loop_of(model).std(0), rtol=0.25, atol=1e-2)


def test_noise_that_needs_many_modules_is_refused_with_a_warning() -> None:
    model = nn.Sequential(*(nn.Identity() for _ in range(20)), nn.Dropout(0.5))
    model.append(Asking(*model[:20]))
    with pytest.warns(UserWarning, match=r"Asking is left out \(not sampled\): it draws only when other modules are"):
        sites = sampled_modules(model, X)
    assert [(site.kind, site.sampled) for site in sites] == [("Dropout", True), ("Asking", False)]
