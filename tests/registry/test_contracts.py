"""Requirements on components: built-in ones meet them, and violations are reported."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import regtorch
from regtorch.augmentations.base import Augmentation
from regtorch.errors import ContractError
from regtorch.initializers.base import Initializer
from regtorch.registry import PACKAGES, Component, available, component
from regtorch.registry.contracts import CONTRACTS, check_contract
from regtorch.regularizers.base import Regularizer
from regtorch.schedulers.base import Scheduler
from regtorch.schedules.base import Schedule


def test_each_kind_has_a_contract() -> None:
    assert CONTRACTS.keys() == PACKAGES.keys()


@pytest.mark.parametrize("kind", PACKAGES)
def test_builtin_components_meet_their_contracts(kind: str) -> None:
    for name in available(kind):
        if name != "drop_connect":  # it wraps a layer
            check_contract(component(kind, name))


class NoFill(Initializer):
    pass


class HalfFilled(Initializer):
    def fill(self, w: torch.Tensor, generator: Any) -> None:
        w[0] = 0.0


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : x.shape[1] // 2]


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise IndexError("nothing\nthere")


class Explodes(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=math.inf)


class NoParams(torch.optim.SGD):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__([torch.ones(1)], lr=lr)


class Sinking(Schedule):
    def factor(self, progress: float) -> float:
        return 0.4 - progress


class Bare(Scheduler):
    def build(self, optimizer: Any, **steps: int) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1)


class Shrinks(Augmentation):
    def augment(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., 1:]


def model(shape: Any, classes: int) -> nn.Module:
    return nn.Linear(math.prod(shape), classes)


@pytest.mark.parametrize(
    ("kind", "factory", "message"),
    [
        ("regularizer", model, "is not a class: it must be a subclass of regtorch.regularizers.base.Regularizer"),
        ("initializer", NoFill, "lacks the method fill"),
        ("initializer", HalfFilled, "leaves entries of a weight of shape (3, 4) unfilled"),
        (
            "activation",
            Halves,
            "returns a tensor of shape (3, 2) for features of shape (3, 4): it must return shape (3, 4)",
        ),
        ("activation", Raises, "cannot be used: IndexError: nothing there"),
        ("optimizer", Explodes, "makes the weights NaN or infinite in its first step"),
        ("optimizer", NoParams, "does not accept params: it is called with params="),
        ("optimizer", nn.Linear, "must be a subclass of torch.optim.optimizer.Optimizer"),
        ("schedule", Sinking, "returns factor(0.5) = -0.09999999999999998: it must be a finite number >= 0"),
        ("scheduler", Bare, 'builds a StepLR: it must be None, or {"scheduler": ..., "interval": ...}'),
        ("augmentation", Shrinks, "returns a tensor of shape (2, 3, 32, 31) for images of shape (2, 3, 32, 32)"),
        ("model", nn.Linear, "does not accept shape and classes: it is called with shape=, classes="),
        ("data", nn.Linear, "must be a subclass of regtorch.data.base.DataSet"),
    ],
)
def test_violations_are_reported(kind: str, factory: Any, message: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_contract(Component(kind, "theirs", "their_package", "Theirs", factory))
    assert str(raised.value).startswith(f"{kind} 'theirs' (their_package.Theirs) {message}")


def test_a_function_that_builds_a_model_is_allowed() -> None:
    check_contract(Component("model", "theirs", "their_package", "model", model))


class OfMaps(Regularizer):
    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return w.sum((2, 3)).square().sum()


def test_a_rule_for_convolutions_only_is_allowed() -> None:
    check_contract(Component("regularizer", "theirs", "their_package", "OfMaps", OfMaps))


def test_trials_do_not_change_the_random_state() -> None:
    before = torch.get_rng_state()
    check_contract(component("initializer", "he_normal"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a=b", "1a", "ä", "_a", "null", "On", "nan", 3, None])
def test_invalid_names_are_refused(name: Any) -> None:
    with pytest.raises(
        regtorch.SettingError, match="is not allowed as the name of a regularizer: it must consist of letters"
    ):
        regtorch.register("regularizer", name)
