"""A prediction leaves the model as it found it, also where the model's own code writes into it."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

import regtorch

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


class Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)
        self.register_buffer("added", torch.zeros(()))
        self.register_buffer("assigned", torch.zeros(4))
        self.last: Tensor | None = None
        self.seen: list[Tensor] = []
        self.features: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.added.add_(1)
        self.assigned = 0.9 * self.assigned + 0.1 * x.mean(0)
        self.last = self.linear(x - torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.seen.append(self.last)
        self.features["last"] = self.last
        return self.drop(self.last)


@pytest.mark.parametrize("fails", [False, True])
def test_attributes_and_buffers_are_as_before(fails: bool) -> None:
    model = Writing()
    before, state = dict(vars(model)), {k: v.clone() for k, v in model.state_dict().items()}
    calls = 0

    def transform(out: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if fails and calls >= 6:
            raise RuntimeError("on purpose")
        return out

    predictor = regtorch.MCPredictor(model, samples=4, transform=transform, max_batch=5)
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            predictor(X)
    else:
        predictor(X)
    assert vars(model).keys() == before.keys()
    assert model.last is None
    assert model.seen == []
    assert model.features == {}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert isinstance(model(X), Tensor)


class OwnNegative(regtorch.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


@pytest.mark.parametrize("kind", [regtorch.Dropout, OwnNegative])
def test_a_dropouts_own_generator_and_sharing_are_as_before(kind: type[regtorch.Dropout]) -> None:
    drop = kind(drop_prob=0.5)
    drop.generator, drop.shared = torch.Generator().manual_seed(3), True
    generator, state = drop.generator, drop.generator.get_state()
    regtorch.MCPredictor(nn.Sequential(nn.Linear(4, 3), drop), samples=4)(X)
    assert drop.generator is generator
    assert torch.equal(generator.get_state(), state)
    assert drop.shared is True


def test_a_hook_sees_tensors_in_every_prediction() -> None:
    seen: list[object] = []
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Dropout(0.5))
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    predictor = regtorch.MCPredictor(model, samples=3)
    predictor(X)
    assert all(isinstance(value, Tensor) for value in seen)
    met = len(seen)
    predictor(X)
    assert len(seen) > met


def test_threads_do_not_meet_in_a_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 3)).eval()
    wanted, found = regtorch.MCPredictor(model, samples=60)(X).mean, []
    threads = [
        threading.Thread(target=lambda: found.append(regtorch.MCPredictor(model, samples=60)(X).mean)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(torch.equal(mean, wanted) for mean in found)
    assert not any(module.training or "forward" in vars(module) for module in model.modules())


def test_threads_that_look_for_noise_do_not_meet() -> None:
    original, found = nn.Module.__call__, []

    def look(width: int) -> None:
        model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(width)], nn.Dropout(0.5))
        found.append((width, [site.name for site in regtorch.mc.sampled_modules(model, X)]))

    threads = [threading.Thread(target=look, args=(width,)) for width in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(width, [str(width)]) for width in range(1, 9)]
    assert nn.Module.__call__ is original


@pytest.mark.parametrize("look", [regtorch.mc.sampled_modules, lambda m, x: regtorch.MCPredictor(m)(x),
                                  lambda m, x: regtorch.always_on(m).eval()(x)])  # fmt: skip
def test_lazy_layers_are_refused_and_left_alone(look: object) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.Dropout(0.5))
    with pytest.raises(regtorch.SettingError, match="uninitialized lazy parameters"):
        look(model, X)
    assert model(X).shape == (5, 3)
