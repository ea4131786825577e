"""Whatever the noise: other arithmetic in training mode is found, and noise alone is not mistaken for it."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


class Model(nn.Module):
    def __init__(self, noise: object) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 2)
        self.small, self.noise, self.source = nn.Dropout(1e-3), noise, random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training:
            h = self.noise(h, self)
        return self.last(self.small(self.middle(h).relu()))


def keep(h: Tensor, p: float) -> Tensor:
    return torch.rand_like(h) < p


MORE = {
    "dropout": lambda h, m: F.dropout(3 * h),
    "normal, small": lambda h, m: 3 * h + 0.1 * torch.randn_like(h),
    "normal, larger": lambda h, m: 3 * h + 0.5 * torch.randn_like(h),
    "normal in place": lambda h, m: 3 * h + torch.empty_like(h).normal_(0, 0.2),
    "normal around": lambda h, m: torch.normal(3 * h, 0.1),
    "shifted": lambda h, m: h + 2 + torch.randn_like(h),
    "a distribution": lambda h, m: torch.distributions.Normal(3 * h, 0.1).rsample(),
    "uniform": lambda h, m: 3 * h + 0.1 * torch.rand_like(h),
    "uniform that multiplies": lambda h, m: 4 * h * torch.empty_like(h).uniform_(0.9, 1.1),
    "numpy": lambda h, m: 3 * h * float(np.random.uniform(0.9, 1.1)),
    "own generator": lambda h, m: 3 * h * m.source.uniform(0.9, 1.1),
}
NOISE = {
    "normal": lambda h, m: h + 0.3 * torch.randn_like(h),
    "normal, large": lambda h, m: h + 5 * torch.randn_like(h),
    "normal that multiplies": lambda h, m: h * (1 + torch.randn_like(h)),
    "normal that multiplies around 1": lambda h, m: h * torch.empty_like(h).normal_(1, 0.5),
    "normal as a factor": lambda h, m: h * torch.randn_like(h),
    "normal around": lambda h, m: torch.normal(h, 0.3),
    "signs": lambda h, m: h * torch.randn_like(h).sign(),
    "normal above a bound": lambda h, m: h * (torch.randn_like(h) > -1) / 0.8413,
    "order of normal numbers": lambda h, m: h * (torch.randn_like(h).argsort(1) < 12) / 0.75,
    "uniform": lambda h, m: h + (torch.rand_like(h) - 0.5),
    "uniform that multiplies": lambda h, m: h * (0.5 + torch.rand_like(h)),
    "dropout of uniform numbers": lambda h, m: h * keep(h, 0.6) / 0.6,
    "dropout of uniform numbers that is not divided": lambda h, m: h * keep(h, 0.4),
    "dropout of bernoulli": lambda h, m: h * torch.bernoulli(torch.full_like(h, 0.3)),
    "dropout of bernoulli that is divided": lambda h, m: h * torch.bernoulli(torch.full_like(h, 0.3)) / 0.3,
    "rows": lambda h, m: h * (0.7 + torch.rand(len(h), 1)).floor() / 0.7,
    "poisson": lambda h, m: h * torch.poisson(torch.ones_like(h)),
    "exponential": lambda h, m: h * torch.empty_like(h).exponential_(),
    "permutation": lambda h, m: h[:, torch.randperm(h.shape[1])],
    "layer drop": lambda h, m: h if torch.rand([]) < 0.9 else h * 0,
    "numpy": lambda h, m: h * float(np.random.uniform(0.5, 1.5)),
    "own generator": lambda h, m: h * (1 + m.source.gauss(0, 1)),
    "own torch generator": lambda h, m: h * torch.poisson(torch.full_like(h, 2.0), torch.Generator().manual_seed(1)),
}


def found(noise: object) -> tuple[bool, list[str]]:
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (site,) = [s for s in regtorch.mc.sampled_modules(Model(noise), X) if s.name == ""]
    return site.sampled, [str(w.message) for w in caught]


@pytest.mark.parametrize("name", MORE)
def test_other_arithmetic_is_refused_with_a_warning(name: str) -> None:
    sampled, (message,) = found(MORE[name])
    assert not sampled
    assert "Model does more in training mode than drop (its output differs" in message


@pytest.mark.parametrize("name", NOISE)
def test_noise_alone_is_sampled_without_a_warning(name: str) -> None:
    assert found(NOISE[name]) == (True, [])
