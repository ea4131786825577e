"""Conversion of models with torch's dropouts."""

from __future__ import annotations

import warnings

import pytest
import timm.layers.drop
import torch
import torchvision
from torch import nn
from torchvision.ops import DropBlock2d as TorchvisionDropBlock2d
from torchvision.ops import DropBlock3d as TorchvisionDropBlock3d
from torchvision.ops import StochasticDepth
from transformers.models.swin.modeling_swin import SwinDropPath

import regtorch
from regtorch import convert_dropout
from regtorch.errors import SettingError, UnknownNameError


class DropPath(nn.Module):
    """Like timm's: None means 0."""

    def __init__(self, drop_prob: float | None, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.drop_prob:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1)) >= self.drop_prob
        return x * kept / (1 - self.drop_prob if self.scale_by_keep else 1)


class StochasticDepthOfKeepProb(DropPath):
    """Its attribute is not the probability to drop."""

    def __init__(self, p: float) -> None:
        super().__init__(1 - p)
        self.p = p


class NoisyDropPath(DropPath):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 0.1 * torch.randn_like(x) * self.training


class DropPathAtHome(DropPath):
    pass


class LoudDropout(nn.Dropout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


class RenamedDropout(nn.Dropout):
    pass


COUNTERPARTS = [
    (nn.Dropout(0.1), "Dropout(drop_prob=0.1, keep_prob=0.9)"),
    (nn.Dropout(0.1, inplace=True), "Dropout(drop_prob=0.1, keep_prob=0.9)"),
    (nn.Dropout(1), "Dropout(drop_prob=1.0, keep_prob=0.0)"),
    (RenamedDropout(0.1), "Dropout(drop_prob=0.1, keep_prob=0.9)"),
    (nn.Dropout1d(0.1), "SpatialDropout1d(drop_prob=0.1, keep_prob=0.9)"),
    (nn.Dropout2d(0.1), "SpatialDropout2d(drop_prob=0.1, keep_prob=0.9)"),
    (nn.Dropout3d(0.1), "SpatialDropout3d(drop_prob=0.1, keep_prob=0.9)"),
    (nn.AlphaDropout(0.1), "AlphaDropout(drop_prob=0.1, keep_prob=0.9)"),
    (nn.FeatureAlphaDropout(0.1), "FeatureAlphaDropout(drop_prob=0.1, keep_prob=0.9)"),
    (StochasticDepth(0.1, "row"), "DropPath(drop_prob=0.1, keep_prob=0.9)"),
    (DropPath(0.1), "DropPath(drop_prob=0.1, keep_prob=0.9)"),
    (DropPath(None), "DropPath(drop_prob=0.0, keep_prob=1.0)"),
    (DropPathAtHome(0.1), "DropPath(drop_prob=0.1, keep_prob=0.9)"),
    (SwinDropPath(0.1), "DropPath(drop_prob=0.1, keep_prob=0.9)"),
    (timm.layers.DropPath(0.1), "DropPath(drop_prob=0.1, keep_prob=0.9)"),
    (
        TorchvisionDropBlock2d(0.1, 5),
        "DropBlock2d(drop_prob=0.1, keep_prob=0.9, block_size=5, couple_channels=False)",
    ),
    (
        TorchvisionDropBlock3d(0.1, 5),
        "DropBlock3d(drop_prob=0.1, keep_prob=0.9, block_size=5, couple_channels=False)",
    ),
]
LEFT_ALONE = [
    LoudDropout(0.1),
    StochasticDepth(0.1, "batch"),
    DropPath(0.1, scale_by_keep=False),
    DropPath(0.0, scale_by_keep=False),
    timm.layers.DropPath(0.1, scale_by_keep=False),
    timm.layers.drop.DropBlock2d(0.1),
    StochasticDepthOfKeepProb(0.1),
    NoisyDropPath(0.1),
    regtorch.Dropout(drop_prob=0.1),
    regtorch.GaussianNoise(std=0.1),
    nn.Linear(2, 2),
]


@pytest.mark.parametrize(("old", "expected"), COUNTERPARTS, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
@pytest.mark.parametrize("training", [True, False])
def test_counterparts(old: nn.Module, expected: str, training: bool) -> None:
    old.train(training)
    model = nn.ModuleDict({"block": nn.Sequential(nn.Linear(2, 2), old)})
    assert convert_dropout(model) is model
    new = model["block"][1]
    assert repr(new) == expected
    assert type(new).__module__.startswith("regtorch.")
    assert new.training is training
    assert repr(convert_dropout(old)) == expected  # the model itself is a dropout


@pytest.mark.parametrize("old", LEFT_ALONE, ids=lambda v: type(v).__name__)
def test_unconverted_modules_and_the_warning(old: nn.Module) -> None:
    model = nn.Sequential(old)
    with pytest.warns(UserWarning, match="found no dropout module to convert"):
        assert convert_dropout(model) is model
    assert model[0] is old


@pytest.mark.parametrize("target", [regtorch.AlphaDropout, "alpha"])
def test_all_become_the_target(target: object) -> None:
    own, connected = regtorch.Dropout(keep_prob=0.7), regtorch.DropConnect(nn.Linear(2, 2), drop_prob=0.5)
    already = regtorch.AlphaDropout(drop_prob=0.6)
    model = nn.Sequential(
        nn.Dropout(0.1), nn.Dropout2d(0.2), own, TorchvisionDropBlock2d(0.4, 5), DropPath(0.5), connected, already
    )
    convert_dropout(model, target)
    assert [type(m).__name__ for m in model] == ["AlphaDropout"] * 4 + ["DropPath", "DropConnect", "AlphaDropout"]
    assert [m.drop_prob for m in model] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6]
    assert model[6] is already


def test_a_shared_module_stays_shared() -> None:
    shared = nn.Dropout(0.1)
    model = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()), shared)
    convert_dropout(model)
    assert model[0] is model[1][0] is model[2]
    assert isinstance(model[0], regtorch.Dropout)


@pytest.mark.parametrize(
    "target",
    [
        nn.Dropout,
        nn.Linear,
        torch.relu,
        0.3,
        regtorch.DropConnect,
        regtorch.NoDropout,
        regtorch.GaussianNoise,
        "drop_connect",
    ],
)
def test_bad_targets(target: object) -> None:
    model = nn.Sequential(nn.Dropout(0.1))
    with pytest.raises(
        SettingError, match=r"^target=.* is not allowed: it must be a class that drops units with a drop_prob$"
    ):
        convert_dropout(model, target)
    assert isinstance(model[0], nn.Dropout)


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean alpha"):
        convert_dropout(nn.Dropout(0.1), "alfa")


def test_an_impossible_probability_replaces_nothing() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.Dropout(1.0))
    with pytest.raises(SettingError, match=r"drop_prob=1\.0 is not allowed"):
        convert_dropout(model, regtorch.AlphaDropout)
    assert all(isinstance(m, nn.Dropout) for m in model)


def test_models_of_torchvision_and_torch_still_work() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    mobile = torchvision.models.mobilenet_v3_small(num_classes=5).eval()
    expected = mobile(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert_dropout(mobile)
        encoder = convert_dropout(nn.TransformerEncoderLayer(8, 2, dropout=0.2, batch_first=True))
    assert torch.equal(mobile(x), expected)
    assert not any(type(m) is nn.Dropout for m in [*mobile.modules(), *encoder.modules()])
    assert torch.equal(encoder.eval()(torch.ones(1, 4, 8)), encoder(torch.ones(1, 4, 8)))


def test_the_search_for_counterparts_does_not_change_the_model_or_the_random_state() -> None:
    state = torch.get_rng_state()
    model = nn.Sequential(DropPath(0.1), NoisyDropPath(0.1)).eval()
    attributes = [dict(vars(module)) for module in model]
    convert_dropout(model, regtorch.Dropout)
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(model[1]) == attributes[1]
    assert not model[0].training
