"""All learning-rate schedules: learning rates and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn, optim

from regtorch import available, create
from regtorch.errors import SettingError

CONF = Path(__file__).parents[2] / "conf" / "scheduler"

EPOCHS, STEPS = 4, 5


def _rates(name, losses=None, **settings):
    """The learning rate of each optimizer step in a training."""
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    built = create("scheduler", name, **settings).build(
        optimizer, total_steps=EPOCHS * STEPS, epochs=EPOCHS, steps_per_epoch=STEPS
    )
    rates = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if built["interval"] == "step":
                built["scheduler"].step()
        if built["interval"] == "epoch":
            built["scheduler"].step(*([losses[epoch]] if losses else []))
    assert built["scheduler"].state_dict()
    return rates, built


def test_none_builds_nothing():
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    assert create("scheduler", "none").build(optimizer, total_steps=1, epochs=1, steps_per_epoch=1) is None


def test_cosine_goes_from_lr_to_min_lr():
    rates, built = _rates("cosine", min_lr=0.1)
    assert rates[0] == 1.0
    assert rates[10] == pytest.approx(0.55)
    assert built["scheduler"].get_last_lr() == [pytest.approx(0.1)]
    assert rates == sorted(rates, reverse=True)


def test_step_and_exponential_drop_after_epochs():
    assert _rates("step", every=2, decay=0.1)[0] == pytest.approx([1.0] * 10 + [0.1] * 10)
    assert _rates("exponential", decay=0.5)[0] == pytest.approx([0.5**epoch for epoch in range(4) for _ in range(5)])


@pytest.mark.parametrize(
    ("monitor", "values"), [("val_loss", [1.0, 2.0, 3.0, 3.0]), ("val_accuracy", [3.0, 2.0, 1.0, 1.0])]
)
def test_plateau_drops_when_the_monitored_metric_gets_worse(monitor, values):
    rates, built = _rates("plateau", values, decay=0.5, patience=1, monitor=monitor)
    assert rates[::STEPS] == [1.0, 1.0, 1.0, 0.5]
    assert built["monitor"] == monitor


def test_one_cycle_peaks_at_lr():
    rates, _ = _rates("one_cycle", warmup_fraction=0.5)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[5] == pytest.approx((1 / 25 + 1) / 2)
    assert rates[10] == max(rates) == 1.0
    assert rates[15] == pytest.approx(0.5)
    assert rates[-1] < 0.03


def test_linear_warmup_stays_at_lr():
    assert _rates("linear_warmup", warmup_fraction=0.2)[0] == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 17)


def test_warmup_cosine_ends_at_zero():
    rates, built = _rates("warmup_cosine", warmup_fraction=0.2)
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[12] == pytest.approx(0.5)
    assert built["scheduler"].get_last_lr() == [pytest.approx(0.0)]


@pytest.mark.parametrize("name", [name for name in available("scheduler") if name != "none"])
@pytest.mark.parametrize("total", [1, 2])
def test_very_short_trainings(name, total):
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    built = create("scheduler", name).build(optimizer, total_steps=total, epochs=total, steps_per_epoch=1)
    for _ in range(total):
        optimizer.step()
        built["scheduler"].step(*([1.0] if name == "plateau" else []))


SETTINGS = {
    "cosine": {"min_lr": 1e-5},
    "step": {"every": 3, "decay": 0.2},
    "exponential": {"decay": 0.9},
    "plateau": {"decay": 0.2, "patience": 0, "min_lr": 1e-5, "monitor": "val_accuracy"},
    "one_cycle": {"warmup_fraction": 0.2},
    "linear_warmup": {"warmup_fraction": 0.2},
    "warmup_cosine": {"warmup_fraction": 0.2},
    "none": {},
}


@pytest.mark.parametrize("name", available("scheduler"))
def test_round_trip(name):
    node = {"name": name, **SETTINGS[name]}
    assert create("scheduler", **node).to_config() == node


@pytest.mark.parametrize("name", available("scheduler"))
def test_the_configuration_holds_the_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert create("scheduler", **node).to_config() == create("scheduler", name).to_config()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosine", {"min_lr": -1.0}, "min_lr=-1.0 is not allowed: it must be a finite number >= 0"),
        ("step", {"every": 0}, "every=0 is not allowed: it must be an integer >= 1"),
        ("exponential", {"decay": 0.0}, "decay=0.0 is not allowed: it must be a number above 0, at most 1"),
        ("plateau", {"patience": -1}, "patience=-1 is not allowed: it must be an integer >= 0"),
        ("plateau", {"monitor": "x"}, "monitor=x is not allowed: it must be one of val_loss, val_accuracy"),
        ("one_cycle", {"warmup_fraction": 1.5}, "warmup_fraction=1.5 is not allowed: it must be a number from 0 to 1"),
        ("none", {"decay": 0.5}, "decay=0.5: scheduler none has no such setting; it has: none"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(SettingError) as error:
        create("scheduler", name, **settings)
    assert str(error.value) == message
