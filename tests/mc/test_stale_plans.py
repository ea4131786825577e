"""A predictor follows what is set on a model or passed to it after the first prediction."""

from __future__ import annotations

import argparse
import functools
import math
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout_prob, self.scale = nn.Linear(4, 3), 0.1, torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.linear(x), self.dropout_prob, self.training) * (self.scale * 2)


def set_probability(model: Plain) -> None:
    model.dropout_prob = 0.8


def set_tensor(model: Plain) -> None:
    model.scale.mul_(3)


def hang_on_a_hook(model: Plain) -> None:
    model.linear.register_forward_hook(lambda module, inputs, output: output + 100)


@pytest.mark.parametrize("change", [set_probability, set_tensor, hang_on_a_hook])
def test_changes_of_a_model_count(change: object) -> None:
    model = Plain()
    predictor = regtorch.MCPredictor(model, samples=20, transform=None)
    before = predictor(X).mean
    change(model)
    after = predictor(X).mean
    assert not torch.allclose(before, after)
    assert torch.equal(after, regtorch.MCPredictor(model, samples=20, transform=None)(X).mean)


def test_a_setting_of_a_dropout_counts() -> None:
    model, x = nn.Sequential(regtorch.DropBlock2d(drop_prob=0.3, block_size=1)), torch.ones(2, 1, 7, 7)
    predictor = regtorch.MCPredictor(model, samples=10, transform=None)
    predictor(x)
    model[0].block_size = 5
    assert torch.equal(predictor(x).mean, regtorch.MCPredictor(model, samples=10, transform=None)(x).mean)


class WithTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, table: object) -> Tensor:
        return self.drop(x) + float(table[0][1000])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_long_arguments_are_told_apart(kind: object) -> None:
    table = np.zeros(2001)
    predictor = regtorch.MCPredictor(WithTable(), samples=5, transform=None)
    before = predictor(X, (kind(table.copy()),)).mean
    table[1000] = 5
    torch.testing.assert_close(predictor(X, (kind(table),)).mean, before + 5)


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x)
        return x if x.sum() > 1e9 else x.mean(1)


def test_many_shapes_keep_few_plans_and_are_warned_of_once() -> None:
    predictor = regtorch.MCPredictor(Reading(), samples=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for length in range(1, 15):
            predictor(torch.ones(3, length, 4))
    assert len([w for w in caught if "sampled whole" in str(w.message)]) == 1
    assert len(predictor._plans) <= 8


def test_another_choice_counts() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.5))
    predictor = regtorch.MCPredictor(model, samples=20, transform=None)
    everything = predictor(X).std
    predictor.only = "3"
    assert torch.equal(predictor(X).std, regtorch.MCPredictor(model, samples=20, transform=None, only="3")(X).std)
    assert not torch.equal(predictor(X).std, everything)
    assert {site.name: site.sampled for site in predictor.sampled_modules} == {"1": False, "3": True}
    with pytest.raises(
        regtorch.errors.NothingBoundError, match=r"only=head\.\* matches no noise.*1 \(Dropout\), 3 \(Dropout\)"
    ):
        regtorch.MCPredictor(model, only="head.*")(X)
    alike = regtorch.MCPredictor(model, samples=20, transform=None, where="3")(X).std
    assert torch.equal(predictor(X).std, alike)
    with pytest.raises(regtorch.errors.SettingError, match="give one of them"):
        regtorch.MCPredictor(model, only="1", where="3")


class Config:
    def __init__(self, dropout: float) -> None:
        self.dropout = dropout


@dataclass
class Data:
    dropout: float


@dataclass(slots=True)
class Slots:
    dropout: float


class Nested:
    def __init__(self, dropout: float) -> None:
        self.layers, self.itself = [{"head": Data(dropout)}], self
        self.labels, self.size = {i: str(i) for i in range(100)}, math.nan

    @property
    def dropout(self) -> float:
        return self.layers[0]["head"].dropout

    @dropout.setter
    def dropout(self, value: float) -> None:
        self.layers[0]["head"].dropout = value


class WithModule(Config):
    def __init__(self, dropout: float) -> None:
        super().__init__(dropout)
        self.module = nn.Linear(2, 2)


class InPartial:
    def __init__(self, dropout: float) -> None:
        self.call = functools.partial(dict, p=dropout)

    @property
    def dropout(self) -> float:
        return self.call.keywords["p"]

    @dropout.setter
    def dropout(self, value: float) -> None:
        self.call.keywords["p"] = value


class InNumbers:
    """Numbers are changed in place."""

    make: Any = staticmethod(lambda value: np.array([value]))

    def __init__(self, dropout: float) -> None:
        self.rate = self.make(dropout)

    @property
    def dropout(self) -> float:
        return float(self.rate[0])

    @dropout.setter
    def dropout(self, value: float) -> None:
        getattr(self.rate, "data" if isinstance(self.rate, Tensor) else "real")[0] = value


class InTensor(InNumbers):
    make = staticmethod(lambda value: torch.tensor([value]))


class InQueue(InNumbers):
    make = staticmethod(lambda value: deque([value]))

    @InNumbers.dropout.setter
    def dropout(self, value: float) -> None:
        self.rate[0] = value


class Configured(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.linear, self.config = nn.Linear(4, 3), config

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.linear(x), self.config.dropout, self.training)


CONFIGS = [lambda dropout: SimpleNamespace(dropout=dropout), lambda dropout: argparse.Namespace(dropout=dropout),
           Config, Data, Slots, Nested, WithModule, InPartial, InNumbers, InTensor, InQueue]  # fmt: skip


@pytest.mark.parametrize("make", CONFIGS)
@pytest.mark.parametrize("nested", [False, True])
def test_settings_in_objects_count(make: Callable[[float], Any], nested: bool) -> None:
    torch.manual_seed(0)
    part = Configured(make(0.1))
    model = nn.Sequential(part, nn.Tanh()) if nested else part
    predictor = regtorch.MCPredictor(model.eval(), samples=20, transform=None)
    before, plan = predictor(X).std, predictor._plans.last
    assert torch.equal(predictor(X).std, before)
    assert predictor._plans.last is plan, "a plan is kept while nothing changes"
    part.config.dropout = 0.8
    after = predictor(X).std
    assert not torch.allclose(before, after)
    assert torch.equal(after, regtorch.MCPredictor(model, samples=20, transform=None)(X).std)


class Scaled(nn.Module):
    """Computes with its own numbers before any of the batch's are there."""

    def __init__(self, compute: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.compute, self.drop = compute, nn.Dropout(0.5)
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) * self.compute(self.scale)


@pytest.mark.parametrize(
    "compute",
    [lambda s: s.sum(), lambda s: s[0].item(), lambda s: float(s.max()), lambda s: s.tolist()[1],
     lambda s: float(s.numpy()[0]), lambda s: s[:1], lambda s: 2.0 if bool((s > 2).all()) else 1.0],
)  # fmt: skip
@pytest.mark.parametrize("write", [lambda s: s.mul_(3), lambda s: s.data.mul_(3), lambda s: s.numpy().__imul__(3)])
def test_numbers_that_were_computed_with_count(
    compute: Callable[[Tensor], Any], write: Callable[[Tensor], Any]
) -> None:
    model = Scaled(compute).eval()
    predictor = regtorch.MCPredictor(model, samples=10, transform=None)
    before = predictor(X).mean
    write(model.scale)
    after = predictor(X).mean
    assert not torch.allclose(before, after)
    assert torch.equal(after, regtorch.MCPredictor(model, samples=10, transform=None)(X).mean)
