"""A predictor follows what is set on a model or passed to it after the first prediction."""

from __future__ import annotations

import warnings

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
