"""All optimizers: Keras' trajectories, hooks, skipped steps, checkpoints, groups, settings."""

from __future__ import annotations

import copy
import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn, optim

from regtorch import available, create
from regtorch.errors import SettingError

CONF = Path(__file__).parents[2] / "conf" / "optimizer"

# 20 steps of Keras 3.15.1 on s * (sum(a * (w - b)^2) + 0.1 * sum(sin(3 w))); s is 1, and 1e-3 for path_small
KERAS = dict(np.load(Path(__file__).parents[1] / "reference" / "optimizers.npz"))
A, B = (torch.from_numpy(KERAS[key]) for key in "ab")
NAMES = available("optimizer")
TORCHS = {
    "sgd": optim.SGD,
    "momentum": optim.SGD,
    "nesterov": optim.SGD,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
    "adadelta": optim.Adadelta,
}


def _loss(w, scale=1.0):
    a, b = A.to(w.dtype), B.to(w.dtype)
    return scale * ((a * (w - b) ** 2).sum() + 0.1 * torch.sin(3 * w).sum())


def _start(dtype=torch.float32):
    return nn.Parameter(torch.from_numpy(KERAS["w0"].copy()).to(dtype))


def _walk(optimizer, w, steps, scale=1.0):
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(w, scale).backward()
        optimizer.step()
        path.append(w.detach().clone())
    return torch.stack(path)


def test_the_table_lists_all_components():
    assert sorted(TORCHS) == NAMES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("prefix", "scale"), [("path", 1.0), ("path_small", 1e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_those_of_keras(name, prefix, scale, dtype):
    w = _start(dtype)
    path = _walk(create("optimizer", name, params=[w]), w, 20, scale).numpy().astype("float64")
    expected = KERAS[f"{prefix}/{name}"].astype("float64")
    off = np.abs(path - expected).max()
    assert off <= 1e-5
    rounded = 0.0 if dtype == torch.float32 else 2e-6  # rounding error of 20 steps of Keras in float32
    assert off <= 0.01 * np.abs(expected[-1] - KERAS["w0"]).max() + rounded


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw"])
def test_the_other_kernel_takes_the_same_steps(name):
    walked = []
    for fused in (None, True):
        w = _start()
        optimizer = create("optimizer", name, params=[w])
        group = optimizer.param_groups[0]
        assert group["fused"] is True
        group["fused"] = fused
        walked.append(_walk(optimizer, w, 10))
    torch.testing.assert_close(*walked, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_is_an_optimizer_of_torchs_class(name):
    assert isinstance(create("optimizer", name, params=[_start()]), TORCHS[name])


@pytest.mark.parametrize("torchs_first", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_hooks_run_once_per_step(name, torchs_first):
    """Torch wraps `step` on each class that is instantiated: a step that calls that of another class would run them twice."""
    if torchs_first:
        TORCHS[name]([_start()], lr=0.1)
    w = _start()
    optimizer = create("optimizer", name, params=[w])
    if not torchs_first:
        TORCHS[name]([_start()], lr=0.1)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    _walk(optimizer, w, 2)
    assert calls == ["before", "after"] * 2


@pytest.mark.parametrize("name", NAMES)
def test_a_skipped_step_changes_nothing(name):
    w, twin = _start(), _start()
    optimizer, plain = create("optimizer", name, params=[w]), create("optimizer", name, params=[twin])
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    for step in range(6):
        optimizer.zero_grad()
        scaler.scale(_loss(w)).backward()
        if step in (0, 3):
            w.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
    assert len(calls) == 4
    _walk(plain, twin, 4)
    torch.testing.assert_close(w, twin, rtol=0, atol=1e-6)
    for key, value in plain.state[twin].items():
        torch.testing.assert_close(optimizer.state[w][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_may_be_unscaled_and_clipped_first(name):
    w, twin = _start(), _start()
    optimizer, plain = create("optimizer", name, params=[w]), create("optimizer", name, params=[twin])
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)  # Lightning refuses to clip for such optimizers
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale(_loss(w)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(w, 0.1)
        scaler.step(optimizer)
        scaler.update()
        plain.zero_grad()
        _loss(twin).backward()
        nn.utils.clip_grad_norm_(twin, 0.1)
        plain.step()
    torch.testing.assert_close(w, twin, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_resumed_training_equals_uninterrupted_training(name):
    w = _start()
    uninterrupted = _walk(create("optimizer", name, params=[w]), w, 8)
    w = _start()
    first = create("optimizer", name, params=[w])
    _walk(first, w, 5)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    stopped = copy.deepcopy(w)
    second = create("optimizer", name, params=[stopped], lr=0.5)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(_walk(second, stopped, 3), uninterrupted[5:])

    copied, pickled = copy.deepcopy((first, w)), pickle.loads(pickle.dumps((first, w)))
    for optimizer, weight in (copied, pickled):
        assert optimizer.to_config() == first.to_config()
        assert torch.equal(_walk(optimizer, weight, 3), uninterrupted[5:])


@pytest.mark.parametrize("name", NAMES)
def test_groups_schedules_and_missing_gradients(name):
    fast, slow, idle = _start(), _start(), _start()
    optimizer = create("optimizer", name, params=[{"params": [fast], "lr": 0.02}, {"params": [slow, idle]}], lr=0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.01]
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        (_loss(fast) + _loss(slow)).backward()
        optimizer.step()
        schedule.step()
    assert torch.equal(idle, _start())
    assert optimizer.to_config()["lr"] == 0.01
    for lr, w in ((0.02, fast), (0.01, slow)):
        alone = _start()
        single = create("optimizer", name, params=[alone], lr=lr)
        schedule = optim.lr_scheduler.StepLR(single, 1, gamma=0.5)
        for _ in range(2):
            _walk(single, alone, 1)
            schedule.step()
        torch.testing.assert_close(w, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_at_all_and_gradients_of_zero(name):
    w = _start()
    optimizer = create("optimizer", name, params=[w])
    optimizer.step()
    assert torch.equal(w, _start())
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert w.isfinite().all()
    if name != "adamw":  # it decays anyway
        assert torch.equal(w, _start())


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_is_called_with_gradients_on_and_its_loss_returned(name):
    w = _start()
    optimizer = create("optimizer", name, params=[w])

    def closure():
        optimizer.zero_grad()
        loss = _loss(w)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(_loss(_start()).item())
    assert not torch.equal(w, _start())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "adamw"])
def test_coupled_weight_decay_is_l2_of_half_its_size(name):
    w, twin = _start(), _start()
    decayed = create("optimizer", name, params=[w], lr=0.01, weight_decay=0.3)
    plain = create("optimizer", name, params=[twin], lr=0.01)
    for _ in range(3):
        _walk(decayed, w, 1)
        plain.zero_grad()
        (_loss(twin) + 0.15 * twin.square().sum()).backward()
        plain.step()
    torch.testing.assert_close(w, twin, rtol=0, atol=1e-5)


def test_rmsprop_with_momentum_is_keras_formula():
    w = _start(torch.float64)
    optimizer = create("optimizer", "rmsprop", params=[w], lr=0.01, rho=0.8, momentum=0.5, epsilon=1e-3)
    x, v, b = _start(torch.float64), torch.zeros_like(w), torch.zeros_like(w)
    for _ in range(4):
        (g,) = torch.autograd.grad(_loss(x), x)
        v = 0.8 * v + 0.2 * g**2
        b = 0.5 * b + 0.01 * g / torch.sqrt(v + 1e-3)
        x = (x - b).detach().requires_grad_()
    torch.testing.assert_close(_walk(optimizer, w, 4)[-1], x.detach())


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_each_group_keeps_its_own_epsilon(name):
    one, two = _start(torch.float64), _start(torch.float64)
    optimizer = create("optimizer", name, params=[{"params": [one], "epsilon": 0.1, "beta2": 0.9}, {"params": [two]}])
    for _ in range(3):
        optimizer.zero_grad()
        (_loss(one) + _loss(two)).backward()
        optimizer.step()
    for w, settings in ((one, {"epsilon": 0.1, "beta2": 0.9}), (two, {})):
        alone = _start(torch.float64)
        single = create("optimizer", name, params=[alone], **settings)
        torch.testing.assert_close(_walk(single, alone, 3)[-1], w.detach())


def test_a_checkpoint_of_torchs_adam_loads():
    w = _start()
    torchs = optim.Adam([w], eps=1e-7)
    _walk(torchs, w, 2)
    ours = create("optimizer", "adam", params=[w])
    ours.load_state_dict(torchs.state_dict())
    _walk(ours, w, 1)
    assert ours.state[w]["step"] == 3
    assert ours.param_groups[0]["epsilon"] == 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    rates = {
        "momentum": 0.5,
        "beta1": 0.8,
        "beta2": 0.99,
        "rho": 0.7,
        "epsilon": 1e-4,
        "initial_accumulator_value": 0.2,
    }
    has = create("optimizer", name, params=[_start()]).settings()
    node = {"name": name, **{key: rates.get(key, 0.01) for key in has}}
    w = _start()
    optimizer = create("optimizer", params=[w], **node)
    assert optimizer.to_config() == node
    path = _walk(optimizer, w, 3)
    assert optimizer.to_config() == node
    w = _start()
    assert torch.equal(_walk(create("optimizer", params=[w], **optimizer.to_config()), w, 3), path)


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_holds_the_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert (
        create("optimizer", params=[_start()], **node).to_config()
        == create("optimizer", name, params=[_start()]).to_config()
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        *[(name, {"lr": 0}, "lr=0 is not allowed: it must be a finite number > 0") for name in NAMES],
        *[
            (name, {"weight_decay": -1.0}, "weight_decay=-1.0 is not allowed: it must be a finite number >= 0")
            for name in NAMES
        ],
        ("momentum", {"momentum": 1.0}, "momentum=1.0 is not allowed: it must be a number from 0 to below 1"),
        ("nesterov", {"momentum": 0.0}, "momentum=0.0 is not allowed: it must be a number above 0 and below 1"),
        ("adam", {"beta1": 1.0}, "beta1=1.0 is not allowed: it must be a number from 0 to below 1"),
        ("nadam", {"beta2": -0.1}, "beta2=-0.1 is not allowed: it must be a number from 0 to below 1"),
        ("rmsprop", {"rho": 1}, "rho=1 is not allowed: it must be a number from 0 to below 1"),
        ("adadelta", {"epsilon": 0.0}, "epsilon=0.0 is not allowed: it must be a finite number > 0"),
        (
            "adagrad",
            {"initial_accumulator_value": -1},
            "initial_accumulator_value=-1 is not allowed: it must be a finite number >= 0",
        ),
        ("sgd", {"betas": 1}, "betas=1: optimizer sgd has no such setting; it has: params, lr, weight_decay"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(SettingError) as error:
        create("optimizer", name, params=[_start()], **settings)
    assert str(error.value) == message


def test_bad_settings_of_a_group():
    with pytest.raises(SettingError, match="beta2=2 is not allowed"):
        create("optimizer", "adam", params=[{"params": [_start()], "beta2": 2}])
