"""Learned probabilities: gradient, penalty, and decrease with more data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

import regtorch
from regtorch.errors import NothingBoundError, SettingError
from regtorch.models.cnn import CNN
from regtorch.models.mlp import MLP
from regtorch.testing.dropout import seeded
from regtorch.testing.ranks import on_two_ranks


def entropy(p: Tensor | float) -> Tensor:
    p = torch.as_tensor(p)
    return -(p * p.log() + (1 - p) * (1 - p).log())


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 5),
        nn.ReLU(),
        regtorch.ConcreteDropout(drop_prob=0.2),
        nn.Linear(5, 4),
        regtorch.ConcreteDropout(keep_prob=0.6),
        nn.Linear(4, 2),
    )


# the relaxation


def test_the_relaxed_mask_follows_the_paper() -> None:
    drop = regtorch.ConcreteDropout(drop_prob=0.3, temperature=0.5)
    drop.generator = seeded(1)
    x = torch.randn(50, 4)
    u = torch.rand(50, 4, generator=seeded(1))
    p = drop.logit.sigmoid()
    z = torch.sigmoid((p.log() - (1 - p).log() + u.log() - (1 - u).log()) / 0.5)  # equation 5
    torch.testing.assert_close(drop(x), x * (1 - z) / (1 - p))


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_units_are_mostly_dropped_with_the_given_probability(p: float) -> None:
    drop = regtorch.ConcreteDropout(drop_prob=p)
    drop.generator = seeded(0)
    dropped = drop(torch.ones(400_000)) * (1 - p) < 0.5
    assert dropped.double().mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 400_000))


def test_the_gradient_of_the_probability_against_finite_differences() -> None:
    logit = torch.tensor([-0.4], dtype=torch.float64, requires_grad=True)
    x = torch.randn(6, 5, dtype=torch.float64)

    def run(logit: Tensor) -> Tensor:
        return regtorch.functional.concrete_dropout(x, logit=logit, temperature=0.5, generator=seeded(2))

    assert torch.autograd.gradcheck(run, logit)


def test_the_lowest_draw_has_a_finite_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))  # torch draws 0, never 1
    drop = regtorch.ConcreteDropout(drop_prob=0.5)
    y = drop(torch.ones(3))
    y.sum().backward()
    assert torch.equal(y.detach(), torch.full((3,), 2.0))
    assert drop.logit.grad is not None
    assert drop.logit.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_learns(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete(0.1, 0.1))
    value = model(torch.ones(8, 3, dtype=dtype)).float().square().mean() + penalty()
    value.backward()
    assert penalty().dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.dtype == dtype for p in model.parameters())


def changes_within_a_map(whole_maps: bool | None, shape: tuple[int, ...]) -> bool:
    drop = regtorch.ConcreteDropout(drop_prob=0.5, whole_maps=whole_maps)
    drop.generator = seeded(0)
    first = drop(torch.ones(shape)).flatten(2)
    assert len(first[..., 0].unique()) > 2  # maps differ
    return not torch.equal(first, first[..., :1].expand_as(first))


@pytest.mark.parametrize(
    ("whole_maps", "shape", "changes"),
    [
        (None, (2, 3, 4, 4), False),
        (None, (2, 3, 2, 2, 2), False),
        (None, (2, 5, 3), True),  # (batch, time, features)
        (True, (2, 3, 5), False),
        (False, (2, 3, 4, 4), True),
    ],
)
def test_feature_maps_are_dropped_as_units(whole_maps: bool | None, shape: tuple[int, ...], changes: bool) -> None:
    assert changes_within_a_map(whole_maps, shape) == changes


# the penalty


@pytest.mark.parametrize("autocast", [False, True])
def test_the_penalty_and_its_gradient_are_those_of_the_formula(autocast: bool) -> None:
    model = network()
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.3, dropout_regularizer=0.7))
    assert penalty.names == ["0.weight", "3.weight after 2", "5.weight after 4"]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = penalty()
        value.backward()
    got = [p.grad for p in model.parameters()]
    model.zero_grad()
    first, second = model[2].logit.sigmoid(), model[4].logit.sigmoid()
    formula = 0.3 * (
        model[0].weight.square().sum()
        + model[3].weight.square().sum() / (1 - first)
        + model[5].weight.square().sum() / (1 - second)
    ) - 0.7 * (5 * entropy(first) + 4 * entropy(second))
    formula.sum().backward()
    assert value.shape == ()
    assert value.item() == pytest.approx(formula.item(), rel=1e-6)
    for ours, parameter in zip(got, model.parameters(), strict=True):
        if ours is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(ours, parameter.grad, rtol=1e-5, atol=1e-6)


def test_the_entropy_counts_the_inputs_of_the_next_layer() -> None:
    drops = {name: regtorch.ConcreteDropout(drop_prob=0.25) for name in "abcd"}
    model = nn.Sequential(
        *(drops["a"], nn.Conv2d(6, 4, 3, groups=2), drops["b"], nn.ConvTranspose2d(4, 8, 3, groups=2)),
        *(nn.Flatten(), drops["c"], drops["d"], nn.Linear(72, 3)),
    )
    cost = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.0, dropout_regularizer=1.0))()
    assert cost.item() == pytest.approx(-float(entropy(0.25)) * (6 + 4 + 72 + 72), rel=1e-6)
    squares = regtorch.WeightPenalty(model[5:], regtorch.Concrete(weight_regularizer=1.0, dropout_regularizer=0.0))()
    assert squares.item() == pytest.approx(model[7].weight.square().sum().item() / 0.75**2, rel=1e-6)


@pytest.mark.parametrize(
    ("whole_maps", "order", "units"),
    [
        (None, ["conv", "norm", "drop", "pool", "flat"], 6),
        (True, ["conv", "drop", "flat"], 6),
        (False, ["conv", "drop", "flat"], 96),
        (None, ["conv", "flat", "drop"], 96),
        (None, ["drop", "flat"], 96),
    ],
    ids=str,
)
def test_the_entropy_counts_maps_that_are_flattened_later(
    whole_maps: bool | None, order: list[str], units: int
) -> None:
    pool = "pool" in order
    parts = {
        "conv": nn.Conv2d(6, 6, 3, padding=1),
        "norm": nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()),
        "drop": regtorch.ConcreteDropout(drop_prob=0.25, whole_maps=whole_maps),
        "pool": nn.MaxPool2d(2),
        "flat": nn.Flatten(),
    }
    inputs = 24 if pool else 96
    model = nn.Sequential(*(parts[name] for name in order), nn.Linear(inputs, 3))
    assert model(torch.zeros(2, 6, 4, 4)).shape == (2, 3)
    cost = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.0, dropout_regularizer=1.0))()
    assert cost.item() == pytest.approx(-float(entropy(0.25)) * units, rel=1e-6)


class Blocks(nn.Module):
    """A convolution, and the layers between it and the dropout."""

    def __init__(self, between: Callable[[Blocks, Tensor], Tensor], inputs: int) -> None:
        super().__init__()
        self.one, self.conv, self.gate = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1)
        self.drop, self.head = regtorch.ConcreteDropout(drop_prob=0.25), nn.Linear(inputs, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.between(self, x)).flatten(1))


@pytest.mark.parametrize(
    ("between", "inputs", "units"),
    [
        (lambda m, x: nn.functional.max_pool2d(torch.relu(m.conv(x)), 2), 32, 8),
        (lambda m, x: m.conv(x) + torch.sigmoid(m.gate(m.conv(x))), 128, 8),
        (lambda m, x: (h := m.conv(x)) * m.gate(h.mean((2, 3), keepdim=True)).sigmoid(), 128, 8),
        (lambda m, x: torch.cat([m.conv(x), m.gate(m.conv(x))], 1), 256, 16),
        # if the maps are unknown, the inputs count
        (lambda m, x: torch.cat([h := m.conv(x), h], 1), 256, 256),
        (lambda m, x: nn.functional.glu(m.conv(x), 1), 64, 64),
        (lambda m, x: nn.functional.pixel_shuffle(m.conv(x), 2), 128, 128),
        (lambda m, x: m.conv(x).chunk(2, 1)[0], 64, 64),
        (lambda m, x: m.one(x) + m.conv(x), 128, 128),
        (lambda m, x: m.conv(x).movedim(1, 3), 128, 128),
    ],
    ids=["pooled", "shortcut", "gated", "dense", "twice", "glu", "shuffled", "halved", "broadcast", "moved"],
)
def test_maps_are_followed_through_layers_that_preserve_them(
    between: Callable[[Blocks, Tensor], Tensor], inputs: int, units: int
) -> None:
    model = Blocks(between, inputs)
    assert model(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.0, dropout_regularizer=1.0))
    assert penalty().item() == pytest.approx(-float(entropy(0.25)) * units, rel=1e-6)


class Attention(nn.Module):
    """Parallel layers after a dropout that is registered before them, and a layer after an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.late = regtorch.ConcreteDropout(drop_prob=0.25), regtorch.ConcreteDropout(drop_prob=0.5)
        self.first, self.query, self.key = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(torch.relu(self.first(x)))
        x = x.view(x.shape[0], -1)
        return self.last(self.late(self.query(x) * self.key(x)))


def test_a_dropout_is_paired_with_the_layers_that_receive_its_output() -> None:
    model = Attention()
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.0, dropout_regularizer=1.0))
    assert penalty.names == [
        *("first.weight", "query.weight after drop", "key.weight after drop", "last.weight after late"),
    ]
    assert penalty().item() == pytest.approx(-float(4 * entropy(0.25) + 4 * entropy(0.5)), rel=1e-6)  # each mask once


def test_a_dropout_before_an_addition_is_paired_with_the_next_registered_kernel() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch, self.before = regtorch.ConcreteDropout(drop_prob=0.1), regtorch.ConcreteDropout(drop_prob=0.2)
            self.last = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.before(x + self.branch(x)))

    assert regtorch.WeightPenalty(Residual(), regtorch.Concrete()).names == ["last.weight after before, branch"]


def test_hooks_do_not_run_during_tracing() -> None:
    model, seen = nn.Sequential(nn.Sequential(network())), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    assert "0.0.3.weight after 0.0.2" in regtorch.WeightPenalty(model, regtorch.Concrete()).names
    assert not seen


def test_without_tracing_the_next_registered_kernel_is_used() -> None:
    class Untraceable(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    penalty = regtorch.WeightPenalty(Untraceable(*network()), regtorch.Concrete())
    assert penalty.names == ["0.weight", "3.weight after 2", "5.weight after 4"]


@pytest.mark.parametrize("normed", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_computed_weight_is_a_kernel_too(normed: Callable[[nn.Module], nn.Module]) -> None:
    model = network()
    normed(model[3])
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete(weight_regularizer=0.3, dropout_regularizer=0.0))
    assert penalty.names == ["0.weight", "3.weight after 2", "5.weight after 4"]
    model.eval()
    w = model[3].weight.square().sum() / 0.8 + model[0].weight.square().sum() + model[5].weight.square().sum() / 0.6
    assert penalty().item() == pytest.approx(0.3 * w.item(), rel=1e-6)
    penalty().backward()
    assert all(p.grad is not None for p in model[3].parameters() if p.ndim > 1)


def test_a_recurrent_layer_is_paired_by_its_first_kernels() -> None:
    lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True)
    names = regtorch.WeightPenalty(
        nn.Sequential(regtorch.ConcreteDropout(drop_prob=0.1), lstm), regtorch.Concrete()
    ).names
    assert [name for name in names if "after" in name] == [
        *("1.weight_ih_l0 after 0", "1.weight_ih_l0_reverse after 0")
    ]


def test_where_selects_kernels() -> None:
    penalty = regtorch.WeightPenalty(network(), regtorch.Concrete(), where="kernel:5*")
    assert penalty.names == ["5.weight after 4"]


def test_the_probability_before_a_frozen_kernel_still_trains() -> None:
    model = network()
    model[3].weight.requires_grad_(False)
    regtorch.WeightPenalty(model, regtorch.Concrete(0.1, 0.1))().backward()
    assert model[2].logit.grad is not None


def test_a_dropout_without_a_following_kernel_is_an_error() -> None:
    with pytest.raises(NothingBoundError, match="follows the ConcreteDropout 1"):
        regtorch.WeightPenalty(
            nn.Sequential(nn.Linear(2, 2), regtorch.ConcreteDropout(drop_prob=0.1)), regtorch.Concrete()
        )


def test_a_copied_model_has_a_separate_penalty() -> None:
    penalty = copy.deepcopy(regtorch.WeightPenalty(network(), regtorch.Concrete(0.1, 0.1)))
    before = penalty().item()
    penalty.model[2].drop_prob = 0.5
    expected = regtorch.WeightPenalty(penalty.model, regtorch.Concrete(0.1, 0.1))().item()
    assert penalty().item() == expected != pytest.approx(before, abs=0.01)


@pytest.mark.parametrize("make", [MLP, CNN])
def test_our_models_pair_dropouts_with_the_next_layers(make: type[nn.Module]) -> None:
    sizes = {"hidden": [12, 9]} if make is MLP else {"channels": [4], "head": [12, 9]}
    node = {"name": "concrete", "drop_prob": 0.2}
    model = make((1, 8, 8), 3, dropout=node, input_dropout=node, **sizes)
    penalty = regtorch.WeightPenalty(model, regtorch.Concrete())
    drops = [name for name, module in model.named_modules() if isinstance(module, regtorch.ConcreteDropout)]
    paired = [part for name in penalty.names if " after " in name for part in name.split(" after ")[1].split(", ")]
    assert paired == drops
    assert len(drops) == 3 + (make is CNN and len(drops) > 3)
    assert any(name.startswith("head") and " after " in name for name in penalty.names)


# learning


def learned(rows: int) -> list[float]:
    """The probabilities learned from `rows` rows of a noisy line; means and log variances are fitted."""
    torch.manual_seed(0)
    x = torch.randn(rows, 1)
    y = 2 * x[:, 0] + 8 + torch.randn(rows)
    model = nn.Sequential(nn.Linear(1, 64), nn.ReLU())
    for units in (64, 2):
        model.extend([regtorch.ConcreteDropout(drop_prob=0.1), nn.Linear(64, units)])
    prior = regtorch.Concrete(weight_regularizer=1e-8 / (2 * rows), dropout_regularizer=1 / rows)
    penalty = regtorch.WeightPenalty(model, prior)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(1500):
        chosen = torch.randint(rows, (min(rows, 64),))
        mean, log_variance = model(x[chosen]).unbind(1)
        optimizer.zero_grad()
        nll = 0.5 * (log_variance + (y[chosen] - mean).square() * (-log_variance).exp()).mean()
        (nll + penalty()).backward()
        optimizer.step()
    return [drop.drop_prob for drop in model if isinstance(drop, regtorch.ConcreteDropout)]


def test_the_probability_decreases_with_more_data() -> None:
    few, many = learned(20), learned(5000)  # figure 2 of the paper: epistemic uncertainty vanishes
    assert min(few) > 0.3
    assert max(many) < 0.03


def test_a_checkpoint_contains_the_learned_probability() -> None:
    model, other = network(), network()
    model[2].drop_prob = 0.37
    other.load_state_dict(model.state_dict())
    assert other[2].drop_prob == 0.37
    assert "drop_prob=0.37, keep_prob=0.63" in repr(other[2])
    assert other[2].to_config() == {"name": "concrete", "drop_prob": 0.37, "temperature": 0.1, "whole_maps": None}


def test_samples_are_drawn_at_the_learned_probability() -> None:
    drop = regtorch.ConcreteDropout(drop_prob=0.1)
    predictor = regtorch.MCPredictor(
        nn.Sequential(nn.Identity(), drop), samples=2000, transform=None, keep_samples=True, seed=1
    )
    for p in (0.1, 0.4):
        drop.drop_prob = p  # in place, as an optimizer does
        gone = predictor(torch.ones(1, 20)).samples * (1 - p) < 0.5
        assert gone.numel() == 40_000
        assert gone.double().mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 40_000))
    assert drop.logit.grad is None


def test_a_schedule_does_not_change_learned_probabilities() -> None:
    with pytest.raises(NothingBoundError):
        regtorch.Scheduled(network(), regtorch.CosineSchedule(), total_steps=4)


@pytest.mark.parametrize("key", ["drop_prob", "keep_prob"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_probabilities_0_and_1_are_refused(key: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{key}={value} is not allowed: it must be a probability above 0 and below"):
        regtorch.ConcreteDropout(**{key: value})


def test_repr_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert "drop_prob=learned" in repr(regtorch.ConcreteDropout(drop_prob=0.1))


def check_sharded(rank: int) -> None:
    alone, sharded = network(), network()
    for layer in sharded:
        fully_shard(layer)
    fully_shard(sharded)
    values = []
    for model in (alone, sharded):
        penalty = regtorch.WeightPenalty(model, regtorch.Concrete(0.3, 0.7))
        torch.manual_seed(1)
        value = model(torch.ones(4, 3)).square().mean() + penalty()
        value.backward()
        values.append(value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    for ours, expected in zip(sharded.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), expected.grad)
    assert sharded[2].drop_prob == 0.2
    assert "drop_prob=learned" in repr(sharded[2])


def test_sharded_and_full_results_are_equal() -> None:
    on_two_ranks(check_sharded)
