"""User-defined dropouts: inherited and declared properties, and their treatment in prediction and conversion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import regtorch
from regtorch.errors import SettingError
from regtorch.mc import has_dropout
from regtorch.mc.affine import _behaves_so, is_affine
from regtorch.registry import component, registered

BUILT_IN = [name for name in regtorch.available("dropout") if name not in {c.name for c in registered()}]
EFFECTS = [name for name in BUILT_IN if component("dropout", name).load().effect]


def made(kind: Any) -> Any:
    return kind(**{strength_of(kind): 0.5})


def strength_of(kind: Any) -> str:
    """The first setting of the first class that has settings; a subclass may take ``*args, **kwargs``."""
    return next(names[0] for base in kind.__mro__ if (names := base.setting_names()))


def class_of(name: str) -> Any:
    return component("dropout", name).load()


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_declared_effect_of_a_class_is_correct(name: str) -> None:
    if name in ("none", "drop_connect"):  # it does nothing, or acts on weights
        assert class_of(name).effect is None
    else:
        assert class_of(name).effect == ("affine" if name in ("alpha", "feature_alpha", "gaussian_noise") else "scale")
        assert _behaves_so(made(class_of(name)))


def with_own_forward(kind: Any, after: Any = lambda x: x) -> Any:
    """A subclass that calls its base and counts the calls."""

    class Mine(kind):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            type(self).calls += 1
            return after(super().forward(x))

    return Mine


def predictor_with(dropout: nn.Module, **settings: Any) -> regtorch.MCPredictor:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    model = nn.Sequential(dropout, head)
    model.eval()(ones_for(dropout, 1))
    return regtorch.MCPredictor(model, samples=5, **settings)


def ones_for(dropout: Any, rows: int) -> Tensor:
    sizes = {None: (5, 4), 1: (5, 4), 2: (5, 4, 4), 3: (5, 4, 4, 4)}[dropout.spatial_dims]
    return torch.randn(rows, *sizes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", EFFECTS)
def test_a_subclass_is_sampled_like_its_base(name: str) -> None:
    """Results are bit-identical, and a second batch draws as little as with the base: the noise was stored."""
    kind = class_of(name)
    mine, x = with_own_forward(kind), ones_for(kind, 4)
    base, own = predictor_with(made(kind)), predictor_with(made(mine))
    assert torch.equal(own(x).mean, base(x).mean)
    before = mine.calls
    assert torch.equal(own(x + 1).std, base(x + 1).std)
    assert mine.calls == before


class Own(regtorch.ProbabilityDropout):
    """Written from scratch, as in a plugin."""

    effect = "scale"
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        if not self.training:
            return x
        shape = (1, *x.shape[1:]) if self.shared else x.shape
        return x * (torch.rand(shape, generator=self.generator) >= self.drop_prob) / self.keep_prob


def test_a_user_class_can_declare_that_it_scales() -> None:
    predictor, x = predictor_with(Own(drop_prob=0.5)), torch.ones(4, 20)
    predictor = regtorch.MCPredictor(nn.Sequential(Own(drop_prob=0.5), nn.Linear(20, 3)), samples=5)
    predictor(x)
    before = Own.calls
    predictor(x)
    assert Own.calls == before


@pytest.mark.parametrize(
    ("base", "after"),
    [
        (regtorch.Dropout, torch.relu),
        (regtorch.Dropout, lambda x: x + 1),  # its class declares that it only scales
        (regtorch.Dropout, lambda x: x.clamp(max=100)),
        (regtorch.Dropout, lambda x: x / x.norm()),
        (regtorch.AlphaDropout, lambda x: x**2),
        (regtorch.GaussianNoise, lambda x: x * (x.abs().mean() > 1)),
        (regtorch.SpatialDropout2d, torch.tanh),
    ],
)
def test_a_subclass_that_does_more_is_run_unchanged(base: Any, after: Any) -> None:
    kind = with_own_forward(base, after)
    assert kind.effect == base.effect
    assert not is_affine(made(kind))
    one_by_one = type("OneByOne", (kind,), {"effect": None})
    x = 3 * ones_for(kind, 4)
    torch.testing.assert_close(predictor_with(made(kind))(x).std, predictor_with(made(one_by_one))(x).std)


def test_trials_change_neither_the_dropout_nor_the_global_random_state() -> None:
    class Noisy(regtorch.Dropout):
        seen = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return super().forward(x) * torch.rand(())

    drop = Noisy(drop_prob=0.5).eval()
    drop.generator = torch.Generator()
    before, own = torch.get_rng_state(), drop.generator.get_state()
    assert not is_affine(drop)
    assert (drop.seen, drop.training, drop.shared) == (0, False, False)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drop.generator.get_state(), own)


class Jitter(regtorch.Noise):
    """Noise whose strength has a name of its own; its constructor also accepts arguments by position."""

    effect = "scale"
    strength_setting = "magnitude"

    def __init__(self, magnitude: float = 0.5) -> None:
        super().__init__()
        self.magnitude = magnitude

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        noise = torch.rand((1, *x.shape[1:]) if self.shared else x.shape, generator=self.generator)
        return x * (1 + self.magnitude * (2 * noise - 1))


class Unnamed(Jitter):
    """The same noise, without a declared strength."""

    strength_setting = None


@pytest.mark.parametrize("kind", [Jitter, Unnamed])
def test_noise_with_a_strength_of_any_name_is_sampled(kind: Any) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), kind(), nn.Linear(8, 3)), torch.randn(5, 4)
    assert has_dropout(model)
    predictor = regtorch.MCPredictor(model, samples=20)
    before = predictor(x).std
    assert (before > 0).all()
    model[1].magnitude = 0.1
    assert torch.equal(predictor(x).std, regtorch.MCPredictor(model, samples=20)(x).std)
    assert (predictor(x).std < before).all()


def test_noise_of_strength_0_is_not_sampled() -> None:
    assert not has_dropout(nn.Sequential(nn.Linear(4, 8), Jitter(magnitude=0)))


def test_noise_with_a_strength_of_any_name_follows_a_schedule() -> None:
    noise = Jitter(magnitude=0.4)
    scheduled = regtorch.Scheduled(noise, regtorch.create("schedule", "linear_warmup"), total_steps=2)
    assert noise.magnitude == 0
    for _ in range(2):
        scheduled.advance()
    assert noise.magnitude == pytest.approx(0.4)


def test_settings_of_noise_include_arguments_that_have_a_position() -> None:
    assert Jitter(0.2).settings() == {"magnitude": 0.2}
    assert repr(Jitter(0.2)) == "Jitter(magnitude=0.2)"


class DropsRows(regtorch.ProbabilityDropout):
    """Drops a layer's output units via their weights, without deriving from our class that drops weights."""

    acts_on_weights = True
    not_settings = frozenset({"layer"})

    def __init__(self, layer: nn.Module | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.layer = layer

    def around(self, layer: nn.Module) -> DropsRows:
        return type(self)(layer, drop_prob=self.drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.layer, nn.Linear)
        if not self.training:
            return self.layer(x)
        kept = torch.rand(len(self.layer.weight), 1, generator=self.generator) >= self.drop_prob
        return functional_call(self.layer, {"weight": self.layer.weight * kept / self.keep_prob}, (x,))


def test_a_dropout_of_weights_keeps_its_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(DropsRows(nn.Linear(4, 8), drop_prob=0.5), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 4)
    expected = model(x)
    assert regtorch.MCPredictor(model, samples=8)(x).std.max() > 0
    torch.testing.assert_close(regtorch.plain(model)(x), expected)
    with pytest.raises(SettingError, match="must be a class that drops units"):
        regtorch.convert_dropout(model, DropsRows)
    converted = regtorch.convert_dropout(model, regtorch.AlphaDropout)
    assert [type(m).__name__ for m in converted] == ["DropsRows", "AlphaDropout", "Linear"]
    torch.testing.assert_close(converted(x), expected)


@pytest.mark.parametrize("name", ["alpha", "feature_alpha", "gaussian", "concrete"])
def test_a_registered_subclass_keeps_the_range_of_its_base(name: str) -> None:
    kind = type("Derived", (class_of(name),), {"registered_as": ("dropout", f"derived_{name}")})
    with pytest.raises(SettingError, match=r"drop_prob=1\.0 is not allowed"):
        kind(drop_prob=1.0)


def test_a_dropout_for_sequences_is_refused_on_feature_maps() -> None:
    class Locked(Own):
        of_sequences = True

    with pytest.raises(SettingError, match="Locked is for sequences, not for feature maps"):
        regtorch.models.CNN((1, 8, 8), 2, channels=[4], dropout=Locked(drop_prob=0.1), dropout_at="conv")
