"""A module that stands at several places counts once, and each of its places is watched: one may be replaced later."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def weight_normed() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False, dtype=torch.float64))


MADE: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.Linear(4, 4, bias=False, dtype=torch.float64),
    "block": Block,
    "deeper": lambda: nn.Sequential(Block()),
    "parametrized": weight_normed,
}


def copied(module: nn.Module) -> nn.Module:
    made = copy.deepcopy(module)
    with torch.no_grad():
        for w in made.parameters():
            w.mul_(2)
    return made


def replace_each_in_turn(model: Any) -> None:
    model[0] = copied(model[1])
    model[2] = copied(model[1])


def only(index: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model[index] = copied(model[index])

    return change


def exchange(model: Any) -> None:
    """As many places as before have the shared module, but others."""
    model[0], model[3] = copied(model[0]), model[0]


def wrap(model: Any) -> None:
    model[2] = nn.Sequential(model[2])


def wrap_one_and_replace_one(model: Any) -> None:
    wrap(model)
    model[0] = copied(model[1])


CHANGES: dict[str, Callable[[Any], None]] = {
    "none": lambda model: None,
    "first": only(0),
    "second": only(1),
    "last": only(2),
    "each": replace_each_in_turn,
    "exchanged": exchange,
    "wrapped": wrap,
    "both": wrap_one_and_replace_one,
}
every_change = pytest.mark.parametrize("change", CHANGES)
every_module = pytest.mark.parametrize("make", MADE)


def network(make: str) -> nn.Sequential:
    """One module thrice, and another."""
    torch.manual_seed(0)
    shared = MADE[make]()
    return nn.Sequential(shared, shared, shared, MADE[make]())


def kernels(model: nn.Module) -> list[Tensor]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear)]


def twins(model: nn.Module, rule: Any) -> list[Any]:
    pairs = [(model, rule), copy.deepcopy((model, rule))]
    if not any(map(nn.utils.parametrize.is_parametrized, model.modules())):  # torch refuses to pickle those
        pairs.append(pickle.loads(pickle.dumps((model, rule))))
    return pairs


@every_change
@every_module
def test_penalties(make: str, change: str) -> None:
    model = network(make)
    penalty = regtorch.WeightPenalty(model, regtorch.L2(1.0))
    for each, of_each in reversed(twins(model, penalty)):
        CHANGES[change](each)
        for _ in range(2):
            torch.testing.assert_close(of_each(), sum(w.square().sum() for w in kernels(each)))


@every_change
@every_module
def test_constraints(make: str, change: str) -> None:
    model, rule = network(make), regtorch.UnitNorm()
    constraint = regtorch.WeightConstraint(model, rule)
    CHANGES[change](model)
    wanted = [w.detach().clone() for w in kernels(model)]
    constraint.project()
    for w, projected in zip(kernels(model), wanted, strict=True):
        rule.project_(projected)
        torch.testing.assert_close(w.detach(), projected)


@every_change
@every_module
def test_activities(make: str, change: str) -> None:
    model = network(make)
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(1.0)))
    CHANGES[change](model)
    x = torch.randn(3, 4, dtype=torch.float64)
    model(x)
    cost = torch.zeros((), dtype=torch.float64)
    for module in model:
        x = nn.functional.linear(x, next(each for each in module.modules() if isinstance(each, nn.Linear)).weight)
        cost = cost + x.square().sum() / 3
    torch.testing.assert_close(penalty(), cost)


def test_an_activation_that_two_blocks_share_counts_once_a_pass() -> None:
    class Activated(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.linear, self.activation = nn.Linear(4, 4), activation

        def forward(self, x: Tensor) -> Tensor:
            return self.activation(self.linear(x))

    act = nn.Tanh()
    model = nn.Sequential(Activated(act), Activated(act))
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(1.0)))
    x = torch.randn(3, 4)
    model(x)
    first = model[0].linear(x).tanh()
    torch.testing.assert_close(penalty(), (first.square().sum() + model[1].linear(first).tanh().square().sum()) / 3)


@pytest.mark.parametrize("where", ["0", "1", "2"])
def test_any_of_the_names_means_the_module(where: str) -> None:
    model = network("layer")
    x = torch.randn(3, 4, dtype=torch.float64)
    penalties = [
        regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(1.0)), where),
        regtorch.WeightPenalty(model, regtorch.L2(1.0), f"{where}.*"),
    ]
    for changed in (False, True):
        if changed:
            model[1] = copied(model[1])
            penalties[0].begin_step()
        layer: Any = model[int(where)]
        layer(x)
        torch.testing.assert_close(penalties[0](), (x @ layer.weight.T).square().sum() / 3)
        torch.testing.assert_close(penalties[1](), layer.weight.square().sum())
