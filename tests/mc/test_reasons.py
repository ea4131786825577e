"""Why a model is sampled whole is a reason in words about the model, and not an error from within its graph."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

STEPS = "its steps, taken one by one, do not give what its own code gives"
SAMPLES = "what it runs differs from sample to sample"
COMPILED = "it is compiled code, whose steps are not seen"
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(6, 20), nn.Dropout(0.1), nn.Linear(20, 2)
        self.inner = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5))

    def noisy(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.noisy(self.first(x))))


class OtherWeights(Base):
    def noisy(self, h: Tensor) -> Tensor:
        weights = {name: 2 * weight for name, weight in self.inner.named_parameters()}
        return torch.func.functional_call(self.inner, weights, (h,))


class Gradient(Base):
    def noisy(self, h: Tensor) -> Tensor:
        with torch.enable_grad():
            h = h.detach().requires_grad_()
            return torch.autograd.grad(F.dropout(h.tanh(), 0.5, self.training).sum(), h)[0]


class Dropped(nn.Module):
    """A layer that seldom is left out, and gives one tensor less then."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 20)

    def forward(self, h: Tensor) -> tuple[Tensor, ...]:
        if self.training and torch.rand(()) < 0.2:
            return (h,)
        return self.layer(h), h.mean(1)


class LayerDrop(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dropped = Dropped()

    def noisy(self, h: Tensor) -> Tensor:
        given = self.dropped(h)
        return given[0] if len(given) == 1 else given[0] + given[1][:, None]


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.5)))


WHOLE: dict[str, tuple[Any, str]] = {
    "other weights": (OtherWeights, STEPS),
    "a gradient": (Gradient, STEPS),
    "layers left out in later samples": (LayerDrop, SAMPLES),
    "compiled": (scripted, COMPILED),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_reason_is_about_the_model(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, reason = WHOLE[name]
    torch.manual_seed(0)
    model = make().eval()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG, "regtorch"):
        warnings.simplefilter("always")
        assert (regtorch.MCPredictor(model, samples=40, transform=None)(X).std > 0).all()
    assert [str(w.message) for w in caught] == [
        f"{type(model).__name__} is sampled whole, as it could not be split: {reason}"
    ]
    if name in ("a gradient", "layers left out in later samples"):  # the error itself is in the log
        assert any(record.exc_info for record in caplog.records)
