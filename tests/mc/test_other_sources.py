"""Noise of other sources than torch's functions, and of other switches than modes, is sampled or not silent."""

from __future__ import annotations

import os
import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
SAMPLES = 400
GLOBAL = np.random.default_rng(0)


class Model(nn.Module):
    def __init__(self, noise: object, **attributes: object) -> None:
        super().__init__()
        self.first, self.last, self.small = nn.Linear(6, 16), nn.Linear(16, 2), nn.Dropout(1e-3)
        self.norm = nn.BatchNorm1d(16)
        self.noise = noise
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.small(self.noise(self, self.norm(self.first(x)))))


class Switching(Model):
    """Its own `train` sets a switch."""

    on = False

    def train(self, mode: bool = True) -> nn.Module:
        self.on = mode
        return super().train(mode)


class Options:
    on = False


class SwitchingElsewhere(Model):
    """Its own `train` sets a switch of an object that is no module."""

    def __init__(self, noise: object) -> None:
        super().__init__(noise, options=Options())

    def train(self, mode: bool = True) -> nn.Module:
        self.options.on = mode
        return super().train(mode)


class Merging(Model):
    """Its own `train` changes a weight, as with low-rank factors, and a switch."""

    def __init__(self, noise: object) -> None:
        super().__init__(noise)
        self.merged = False

    def train(self, mode: bool = True) -> nn.Module:
        if self.merged == mode:
            self.first.weight.data += 0.1 if self.merged else -0.1
            self.merged = not mode
        return super().train(mode)


class OfClass(Model):
    source = np.random.RandomState(0)


def in_a_thread(m: nn.Module, h: Tensor) -> Tensor:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(F.dropout(h, 0.5, m.training)))
    thread.start()
    thread.join()
    return found[0]


def after_torchs_draw(m: nn.Module, h: Tensor) -> Tensor:
    return in_a_thread(m, F.dropout(h, 0.01, m.training) * (torch.rand([]) >= 0 if m.training else 1))


def of_numpy(m: nn.Module, h: Tensor) -> Tensor:
    return h * torch.from_numpy(m.source.random(h.shape) > 0.5) * 2 if m.training else h


def of_python(m: nn.Module, h: Tensor) -> Tensor:
    return h * (1 + m.source["a"][0].gauss(0, 1)) if m.training else h


FOUND = {
    "NumPy's": lambda: Model(of_numpy, source=np.random.default_rng(0)),
    "Python's, in containers": lambda: Model(of_python, source={"a": [random.Random(0)]}),
    "NumPy's older one, of the class": lambda: OfClass(lambda m, h: h * (1 + m.source.randn()) if m.training else h),
    "a switch of train()": lambda: Switching(lambda m, h: F.dropout(h, 0.5, m.on)),
}
LEFT_OUT = {
    "a global generator": lambda: Model(
        lambda m, h: h * torch.tensor(GLOBAL.random(16) * 2).float() if m.training else h
    ),
    "the system's": lambda: Model(lambda m, h: h * (1 + os.urandom(1)[0] / 256) if m.training else h),
    "a thread": lambda: Model(in_a_thread),
    "a thread after torch's own draw": lambda: Model(after_torchs_draw),
    "a switch elsewhere": lambda: SwitchingElsewhere(lambda m, h: F.dropout(h, 0.5, m.options.on)),
    "a switch with merged weights": lambda: Merging(lambda m, h: F.dropout(h, 0.5, not m.merged)),
    "the mode of normalization": lambda: Model(lambda m, h: F.dropout(h, 0.5, m.norm.training)),
}


def state_of(model: nn.Module) -> list[object]:
    state = [value.tolist() for value in model.state_dict().values()]
    state += [module.training for module in model.modules()]
    state += [getattr(model, name, None) for name in ("on", "merged")]
    state += [dict(vars(model.options))] if hasattr(model, "options") else []
    source = getattr(model, "source", None)
    source = source["a"][0] if isinstance(source, dict) else source
    if isinstance(source, random.Random):
        state.append(source.getstate())
    if isinstance(source, np.random.RandomState):
        state.append(repr(source.get_state()))
    if isinstance(source, np.random.Generator):
        state.append(repr(source.bit_generator.state))
    return state


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", FOUND)
def test_it_is_sampled_and_the_model_is_as_before(name: str, training: bool) -> None:
    torch.manual_seed(0)
    model = FOUND[name]().train(training)
    before = state_of(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*not sampled.*")
        predictor = regtorch.MCPredictor(model, SAMPLES, transform=None)
        out = predictor(X)
        assert state_of(model) == before
        always = regtorch.always_on(model).eval()
        with torch.no_grad():
            switched = torch.stack([always.eval()(X) for _ in range(SAMPLES)])
    assert torch.equal(predictor(X).mean, out.mean), "the same seed gives the same samples"
    model.train().norm.eval()
    with torch.no_grad():
        wanted = torch.stack([model(X) for _ in range(SAMPLES)]).std(0)
    torch.testing.assert_close(out.std, wanted, rtol=0.25, atol=1e-2)
    torch.testing.assert_close(switched.std(0), wanted, rtol=0.25, atol=1e-2)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_noise_that_cannot_be_sampled_is_one_warning(name: str) -> None:
    torch.manual_seed(0)
    model = LEFT_OUT[name]().eval()
    before = state_of(model)
    predictor = regtorch.MCPredictor(model, 20, transform=None)
    with pytest.warns(UserWarning, match=rf"noise of {type(model).__name__} is left out \(not sampled\)") as caught:
        predictor(X)
    assert len([w for w in caught if "not sampled" in str(w.message)]) == 1
    assert ("", False) in {(site.name, site.sampled) for site in predictor.sampled_modules}
    assert state_of(model) == before


class Inner(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h * torch.tensor(GLOBAL.random(16) * 2).float() if self.training else h


def test_the_warning_names_the_class_that_draws() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.Sequential(nn.ReLU(), Inner()), nn.Linear(16, 16), nn.Dropout(0.5))
    with pytest.warns(UserWarning, match="noise of Inner is left out"):
        sites = regtorch.mc.sampled_modules(model, X)
    assert [(site.name, site.sampled) for site in sites] == [("3", True), ("1.1", False)]


@pytest.mark.filterwarnings("error")
def test_layers_that_are_dropped_by_chance_are_no_noise_that_is_left_out() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.dropout(self.norm(self.linear(x)), 0.1, self.training)

    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer() for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                if not (self.training and torch.rand([]) < 0.5):
                    x = layer(x)
            return x

    regtorch.mc.sampled_modules(Layers(), X)
