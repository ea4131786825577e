"""`Scheduled`: penalties and dropouts follow their schedule, step by step, through copies, skipped steps and resumes."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn, optim

import regtorch
from regtorch import available, create
from regtorch.errors import NothingBoundError, SettingError
from regtorch.registry import component

FALLING = regtorch.CosineSchedule()
RISING = regtorch.LinearWarmupSchedule(warmup_fraction=1.0)
STEPS = 10


class Own(regtorch.Schedule):
    """A schedule with a given factor for each of ten steps."""

    def __init__(self, *factors: float) -> None:
        self.factors = factors

    def factor(self, progress: float) -> float:
        return self.factors[round(progress * (len(self.factors) - 1))]


@dataclass(frozen=True)
class Target:
    """An object that can follow a schedule, and how to read its strength."""

    name: str
    make: Callable[[], object]
    attribute: str
    nominal: float = 0.4

    def strength(self, target: object) -> float:
        return getattr(target, self.attribute)

    def __str__(self) -> str:
        return self.name


def _dropout(name: str) -> Target:
    attribute = component("dropout", name).load().setting_names()[0]
    return Target(name, lambda: create("dropout", name, **{attribute: 0.4}), attribute)


TARGETS = [
    Target("penalty", lambda: regtorch.WeightPenalty(nn.Linear(3, 2), regtorch.L2(0.5)), "factor", nominal=1.0),
    *(_dropout(name) for name in available("dropout") if name not in ("none", "concrete")),  # it learns its probability
    *(
        Target(f"torch {kind.__name__}", lambda kind=kind: kind(0.4), "p")
        for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    ),
]
every_target = pytest.mark.parametrize("target", TARGETS, ids=str)


@every_target
@pytest.mark.parametrize("name", available("schedule"))
def test_values_are_the_nominal_value_times_the_factor_of_each_step(target, name):
    bound, schedule = target.make(), create("schedule", name)
    scheduled = regtorch.Scheduled(bound, schedule, total_steps=STEPS)
    for steps in range(STEPS + 3):
        assert scheduled.steps_taken == steps
        assert scheduled.factor == schedule.factor(min(1.0, steps / STEPS))
        assert target.strength(bound) == target.nominal * scheduled.factor
        scheduled.advance()


def test_a_schedule_scales_the_penalty():
    penalty = regtorch.WeightPenalty(nn.Linear(3, 2), regtorch.L2(0.5))
    full = penalty()
    scheduled = regtorch.Scheduled(penalty, RISING, total_steps=4)
    values = [penalty().item(), *(scheduled.advance() or penalty().item() for _ in range(4))]
    assert values == pytest.approx([full.item() * quarter / 4 for quarter in range(5)])


def test_all_dropouts_of_a_module_keep_their_ratio_and_nothing_else_changes():
    shared = regtorch.Dropout(drop_prob=0.2)
    model = nn.Sequential(
        shared,
        nn.Sequential(nn.Dropout(0.6), shared, regtorch.GaussianNoise(std=3.0)),
        regtorch.DropConnect(nn.Linear(2, 2), drop_prob=0.1),
        create("dropout", "none"),
        nn.LeakyReLU(0.3),
        nn.BatchNorm1d(2, momentum=0.7),
    )
    scheduled = regtorch.Scheduled(model, RISING, total_steps=2)
    scheduled.advance()
    assert (shared.drop_prob, model[1][0].p, model[1][2].std, model[2].drop_prob) == (0.1, 0.3, 1.5, 0.05)
    assert (model[4].negative_slope, model[5].momentum) == (0.3, 0.7)
    assert repr(scheduled) == (
        "Scheduled(LinearWarmupSchedule(start=0.0, warmup_fraction=1.0), bound to 0, 1.0, 1.2, 2, step 1/2)"
    )


def test_restore_resets_the_nominal_values_until_the_next_step():
    drop = regtorch.Dropout(drop_prob=0.4)
    scheduled = regtorch.Scheduled(drop, FALLING, total_steps=2)
    scheduled.advance()
    scheduled.restore()
    assert (drop.drop_prob, scheduled.steps_taken) == (0.4, 1)
    scheduled.advance()
    assert drop.drop_prob == 0.0


# -- after optimizer steps

OPTIMIZERS = {
    "SGD": lambda weights: optim.SGD(weights, lr=0.1),
    "fused SGD": lambda weights: optim.SGD(weights, lr=0.1, fused=True),
    "Adam": lambda weights: optim.Adam(weights, lr=0.1),
    "fused Adam": lambda weights: optim.Adam(weights, lr=0.1, fused=True),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_that_the_scaler_skips_does_not_count(kind):
    layer = nn.Linear(2, 1)
    drop = regtorch.Dropout(drop_prob=0.5)
    optimizer, scaler = OPTIMIZERS[kind](layer.parameters()), torch.amp.GradScaler("cpu", init_scale=8.0)
    scheduled = regtorch.Scheduled(drop, RISING, total_steps=4)
    scheduled.attach(optimizer)
    counted, probabilities = [], []
    for overflow in (False, True, True, False, False):
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale(layer(torch.ones(3, 2)).sum()).backward()
        if overflow:
            layer.weight.grad[0, 0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, layer.weight) == overflow
        counted.append(scheduled.steps_taken)
        probabilities.append(drop.drop_prob)
    assert counted == [1, 1, 1, 2, 3]
    assert probabilities == [0.125, 0.125, 0.125, 0.25, 0.375]


def test_a_step_of_lbfgs_counts_once():
    layer = nn.Linear(2, 1)
    optimizer = optim.LBFGS(layer.parameters(), max_iter=5)
    scheduled = regtorch.Scheduled(regtorch.Dropout(drop_prob=0.5), FALLING, total_steps=STEPS)
    scheduled.attach(optimizer)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = layer(torch.ones(3, 2)).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert calls > 3
    assert scheduled.steps_taken == 3


def test_a_removed_handle_no_longer_advances():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    scheduled = regtorch.Scheduled(nn.Dropout(0.5), FALLING, total_steps=STEPS)
    handle = scheduled.attach(optimizer)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert scheduled.steps_taken == 1


# -- resume


class Training:
    """A training with scheduled penalty and dropouts."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), regtorch.Dropout(drop_prob=0.5), nn.Linear(8, 1))
        self.penalty = regtorch.WeightPenalty(self.model, regtorch.L1L2(l1=0.01, l2=0.01))
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.05)
        self.scheduled = [
            regtorch.Scheduled(self.model, FALLING, total_steps=STEPS),
            regtorch.Scheduled(self.penalty, RISING, total_steps=STEPS),
        ]
        for scheduled in self.scheduled:
            scheduled.attach(self.optimizer)

    def run(self, steps: int) -> Training:
        x = torch.linspace(-1, 1, 32).view(8, 4)
        for _ in range(steps):
            self.optimizer.zero_grad()
            (self.model(x).square().mean() + self.penalty()).backward()
            self.optimizer.step()
        return self

    def saved(self) -> bytes:
        stored = io.BytesIO()
        parts = [self.model.state_dict(), self.optimizer.state_dict(), *(s.state_dict() for s in self.scheduled)]
        torch.save([*parts, torch.get_rng_state()], stored)
        return stored.getvalue()

    def load(self, stored: bytes) -> Training:
        model, optimizer, *schedules, random_state = torch.load(io.BytesIO(stored), weights_only=True)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        for scheduled, state in zip(self.scheduled, schedules, strict=True):
            scheduled.load_state_dict(state)
        torch.set_rng_state(random_state)
        return self


@pytest.mark.parametrize("interrupted_after", [0, 4, STEPS, STEPS + 2])
def test_a_resumed_training_equals_an_uninterrupted_one(interrupted_after):
    undisturbed = Training().run(STEPS + 5)
    stored = Training().run(interrupted_after).saved()
    resumed = Training().run(3).load(stored).run(STEPS + 5 - interrupted_after)
    for one, other in zip(undisturbed.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@every_target
def test_a_loaded_state_applies_immediately(target):
    before = regtorch.Scheduled(target.make(), RISING, total_steps=STEPS)
    for _ in range(3):
        before.advance()
    bound = target.make()
    after = regtorch.Scheduled(bound, RISING, total_steps=STEPS)
    after.load_state_dict(before.state_dict())
    assert (after.steps_taken, target.strength(bound)) == (3, target.nominal * RISING.factor(0.3))


@every_target
def test_copies(target):
    scheduled = regtorch.Scheduled(target.make(), RISING, total_steps=STEPS)
    scheduled.advance()
    for twin in (copy.deepcopy(scheduled), pickle.loads(pickle.dumps(scheduled))):
        twin.advance()
        assert target.strength(twin.target) == target.nominal * RISING.factor(0.2)
        assert target.strength(scheduled.target) == target.nominal * RISING.factor(0.1)
    for twin in (copy.deepcopy(scheduled.target), pickle.loads(pickle.dumps(scheduled.target))):
        scheduled.advance()
        assert target.strength(twin) == target.nominal * RISING.factor(0.1)
        scheduled.load_state_dict({"steps_taken": 1})


# -- compiled

VALUES = [0.5, 0.0, *(0.04 * step for step in range(1, 15))]


def compiled(function: Callable) -> Callable:
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def scale(prob: float) -> float:
    return 1 / (1 - prob)


#: dropout -> a statistic of its output for ones that shows its strength, and the value; the mean is 1 for all
SHOWN = {
    "standard": (Tensor.amax, scale),
    "spatial1d": (Tensor.amax, scale),
    "spatial2d": (Tensor.amax, scale),
    "spatial3d": (Tensor.amax, scale),
    "drop_path": (Tensor.amax, scale),
    "drop_connect": (Tensor.amax, scale),
    "exact_count": (Tensor.amax, lambda prob: 200 / (200 - math.ceil(200 * prob - 1e-9))),
    "gaussian": (Tensor.std, lambda prob: (prob / (1 - prob)) ** 0.5),
    "gaussian_noise": (Tensor.std, lambda std: std),
}


@pytest.mark.parametrize("name", SHOWN)
def test_compiled_dropouts_follow_more_values_than_the_recompilation_limit(name):
    """Dynamo stops after eight graphs of one function; a changing float becomes an input of the graph."""
    assert len(set(VALUES)) > torch._dynamo.config.recompile_limit
    rows = {"spatial1d": (1000, 8, 5), "spatial3d": (1000, 8, 2, 2, 2)}.get(name, (1000, 8, 5, 5))
    attribute = component("dropout", name).load().setting_names()[0]
    module = create("dropout", name, **{attribute: 0.9})
    x = torch.ones(rows)
    if name == "drop_connect":
        module = module.around(nn.Linear(1, 1000, bias=False))
        nn.init.ones_(module.layer.weight)
        x = torch.ones(1, 1)
    scheduled = regtorch.Scheduled(module, Own(*VALUES), total_steps=len(VALUES) - 1)
    torch.manual_seed(0)
    forward, (shown, value) = compiled(module), SHOWN[name]
    for _ in VALUES:
        y = forward(x)
        assert shown(y).item() == pytest.approx(value(getattr(module, attribute)), rel=0.03)
        assert y.mean().item() == pytest.approx(1, abs=0.15)
        scheduled.advance()


@pytest.mark.parametrize("name", ["alpha", "feature_alpha"])
@pytest.mark.parametrize("fullgraph", [True, False])
def test_compiled_moment_preserving_dropouts_follow_too(name, fullgraph):
    torch._dynamo.reset()
    module = create("dropout", name, drop_prob=0.9)
    scheduled = regtorch.Scheduled(module, Own(*VALUES), total_steps=len(VALUES) - 1)
    forward = torch.compile(module, fullgraph=fullgraph)  # only the default backend used one value for all
    for _ in VALUES:
        compiled_values, values = (f(torch.ones(1000, 8)).unique() for f in (forward, module))
        torch.testing.assert_close(compiled_values, values)
        scheduled.advance()


def test_compiled_trainings_do_not_affect_each_other():
    torch._dynamo.reset()
    schedule = Own(1.0, *(value / 0.9 for value in VALUES), 0.0)
    for _ in range(3):
        module = regtorch.Dropout(drop_prob=0.9)
        scheduled = regtorch.Scheduled(module, schedule, total_steps=len(VALUES) + 1)
        forward = torch.compile(module, backend="aot_eager", fullgraph=True)
        for _ in range(len(VALUES) + 2):
            assert forward(torch.ones(500, 20)).amax().item() == pytest.approx(scale(module.drop_prob))
            scheduled.advance()


def test_compiled_penalties_follow_more_values_than_the_recompilation_limit():
    penalty = regtorch.WeightPenalty(nn.Linear(5, 4), regtorch.L1L2(l1=0.1, l2=0.1))
    total = compiled(lambda: penalty())
    scheduled = regtorch.Scheduled(penalty, Own(*VALUES), total_steps=len(VALUES) - 1)
    for _ in range(len(VALUES)):
        assert total().item() == pytest.approx(penalty().item())
        scheduled.advance()


# -- errors


def test_impossible_values_are_refused_before_the_training():
    for make, schedule, message in [
        (
            lambda: nn.Sequential(nn.Identity(), regtorch.Dropout(drop_prob=0.6)),
            regtorch.CosineSchedule(start=0.5, end=2.0),
            "CosineSchedule(start=0.5, end=2.0) is not allowed for 1: at its factor 2.0, drop_prob=1.2 is not allowed: "
            "it must be a probability from 0 to 1",
        ),
        (
            lambda: nn.Dropout(0.6),
            regtorch.LinearWarmupSchedule(start=2.0),
            "LinearWarmupSchedule(start=2.0, warmup_fraction=0.1) is not allowed for Dropout: at its factor 2.0, "
            "drop_prob=1.2 is not allowed: it must be a probability from 0 to 1",
        ),
        (
            lambda: regtorch.AlphaDropout(drop_prob=0.5),
            regtorch.CosineSchedule(end=2.0),
            "CosineSchedule(start=1.0, end=2.0) is not allowed for AlphaDropout: at its factor 2.0, drop_prob=1.0 is "
            "not allowed: it must be a probability from 0 to below 1 (at 1 nothing is left to preserve the variance)",
        ),
    ]:
        model = make()
        nominal = [getattr(m, "drop_prob", getattr(m, "p", None)) for m in model.modules()]
        with pytest.raises(SettingError) as error:
            regtorch.Scheduled(model, schedule, total_steps=STEPS)
        assert str(error.value) == message
        assert [getattr(m, "drop_prob", getattr(m, "p", None)) for m in model.modules()] == nominal


@pytest.mark.parametrize("factor", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("step", [0, 5, STEPS])
@pytest.mark.parametrize("target", TARGETS[:2], ids=str)
def test_an_invalid_factor_at_a_single_step_is_refused(target, step, factor):
    factors = [factor if taken == step else 1.0 for taken in range(STEPS + 1)]
    with pytest.raises(SettingError, match=f"is not allowed: its factor {factor} must be finite and >= 0"):
        regtorch.Scheduled(target.make(), Own(*factors), total_steps=STEPS)


def test_a_peak_between_the_ends_is_refused():
    with pytest.raises(SettingError, match=r"at its factor 3\.0, drop_prob=1\.5 is not allowed"):
        regtorch.Scheduled(regtorch.Dropout(drop_prob=0.5), Own(1.0, 1.0, 3.0, 1.0), total_steps=3)


def test_a_very_long_training_is_checked_at_some_steps():
    scheduled = regtorch.Scheduled(regtorch.Dropout(drop_prob=0.5), FALLING, total_steps=10**12)
    assert scheduled.factor == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"target": "dropout"},
            SettingError,
            "target=dropout is not allowed: it must be a WeightPenalty, or a module with dropouts",
        ),
        (
            {"target": nn.Linear(2, 1)},
            NothingBoundError,
            "Linear has no dropout module whose probability could follow a schedule",
        ),
        (
            {"target": create("dropout", "none")},
            NothingBoundError,
            "NoDropout has no dropout module whose probability could follow a schedule",
        ),
        (
            {"schedule": "cosine"},
            SettingError,
            "schedule=cosine is not allowed: it must be a Schedule, e.g. regtorch.CosineSchedule()",
        ),
        ({"total_steps": 0}, SettingError, "total_steps=0 is not allowed: it must be an integer >= 1"),
        (
            {"total_steps": float("inf")},
            SettingError,
            "total_steps=inf is not allowed: it must be an integer >= 1",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        regtorch.Scheduled(**{"target": nn.Dropout(0.5), "schedule": FALLING, "total_steps": STEPS, **arguments})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "a Scheduled's state holds steps_taken, got nothing"),
        ({"last_epoch": 3}, "a Scheduled's state holds steps_taken, got last_epoch"),
        ({"steps_taken": -1}, "steps_taken=-1 is not allowed: it must be an integer >= 0"),
    ],
)
def test_an_invalid_state_changes_nothing(state, message):
    scheduled = regtorch.Scheduled(nn.Dropout(0.5), FALLING, total_steps=STEPS)
    with pytest.raises(SettingError) as raised:
        scheduled.load_state_dict(state)
    assert str(raised.value) == message
    assert scheduled.steps_taken == 0


def test_an_unbound_rule_is_named_in_the_message() -> None:
    with pytest.raises(
        regtorch.SettingError, match=r"L2\(l2=0.1\) is not bound yet: schedule a WeightPenalty\(model, L2"
    ):
        regtorch.Scheduled(regtorch.L2(0.1), regtorch.LinearWarmupSchedule(), total_steps=3)
