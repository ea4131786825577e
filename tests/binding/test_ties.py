"""A shared parameter counts once, also if it becomes shared or unshared after binding."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch
from tests.testers.components import CONSTRAINTS, REGULARIZERS, made


def network(tied: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in range(3)))
    return tie(model) if tied else model


def tie(model: nn.Sequential) -> nn.Sequential:
    model[2].weight = model[0].weight
    return model


def untie_by_assigning(model: nn.Sequential) -> nn.Sequential:
    state = {name: (i + 1) * w.detach().clone() for i, (name, w) in enumerate(model.state_dict().items())}
    model.load_state_dict(state, assign=True)
    return model


def untie_by_emptying(model: nn.Sequential) -> nn.Sequential:
    model.to_empty(device="cpu")
    for module in model:
        module.weight = nn.Parameter(torch.randn_like(module.weight))
    return model


def untie_by_replacing(model: nn.Sequential) -> nn.Sequential:
    model[2] = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    return model


def untie_by_deleting(model: nn.Sequential) -> nn.Sequential:
    del model[2].weight
    model[2].weight = nn.Parameter(torch.randn(4, 4, dtype=torch.float64))
    return model


def share_a_module(model: nn.Sequential) -> nn.Sequential:
    model[2] = model[0]
    return model


#: a change of a model after binding, and whether its first and last weights are tied before
CHANGES: dict[str, tuple[Callable[[nn.Sequential], nn.Sequential], bool]] = {
    "tied": (tie, False),
    "a shared module": (share_a_module, False),
    "assigned": (untie_by_assigning, True),
    "emptied": (untie_by_emptying, True),
    "replaced": (untie_by_replacing, True),
    "deleted": (untie_by_deleting, True),
    "tied and untied": (lambda model: untie_by_assigning(tie(model)), False),
    "as it was": (lambda model: model, True),
}
every_change = pytest.mark.parametrize("change", CHANGES)
OF_WEIGHTS = [name for name in REGULARIZERS if name not in ("activity", "none")]


def once_each(model: nn.Module, rule: Any) -> Tensor:
    return torch.stack([rule(w) for w in {id(w): w for w in model.parameters()}.values()]).sum()


@every_change
@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_a_penalty(change: str, name: str) -> None:
    changed, tied = CHANGES[change]
    model = network(tied)
    penalty = regtorch.WeightPenalty(model, made("regularizer", name))
    penalty()
    changed(model)
    for each, of_each in (
        (model, penalty),
        copy.deepcopy((model, penalty)),
        pickle.loads(pickle.dumps((model, penalty))),
    ):
        torch.testing.assert_close(of_each(), once_each(each, made("regularizer", name)))
        of_each().backward()
        assert all(w.grad is not None for w in each.parameters())


@every_change
@pytest.mark.parametrize("name", [name for name in CONSTRAINTS if name != "none"])
@pytest.mark.parametrize("attached", [False, True])
def test_a_constraint(change: str, name: str, attached: bool) -> None:
    changed, tied = CHANGES[change]
    model, rule = network(tied), made("constraint", name)
    constraint = regtorch.WeightConstraint(model, rule)
    changed(model)
    wanted = {}
    for w in model.parameters():
        wanted[id(w)] = w.detach().clone()
        rule.project_(wanted[id(w)], 0.5)
    if attached:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        constraint.attach(optimizer)
        for w in model.parameters():
            w.grad = torch.zeros_like(w)
        optimizer.step()
    else:
        constraint.project(step_size=0.5)
    for w in model.parameters():
        torch.testing.assert_close(w.detach(), wanted[id(w)])


def test_weights_tied_under_a_parametrization() -> None:
    model = nn.Sequential(*(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)) for _ in range(2)))
    penalty = regtorch.WeightPenalty(model, regtorch.L2(0.1))
    apart = sum(0.1 * layer.weight.square().sum() for layer in model)
    torch.testing.assert_close(penalty(), apart)
    for original in ("original0", "original1"):
        setattr(model[1].parametrizations.weight, original, getattr(model[0].parametrizations.weight, original))
    torch.testing.assert_close(penalty(), 0.1 * model[0].weight.square().sum())
    assert penalty.names == ["0.weight"]


def test_kernels_after_concrete_dropouts() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), regtorch.ConcreteDropout(drop_prob=0.1), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    )
    rule = regtorch.Concrete(weight_regularizer=0.1, dropout_regularizer=0.2)
    penalty = regtorch.WeightPenalty(model, rule)
    for change in (lambda: None, lambda: setattr(model[3], "weight", model[0].weight)):
        change()
        fresh = regtorch.WeightPenalty(model, rule)
        assert penalty.names == fresh.names
        torch.testing.assert_close(penalty(), fresh())
    for twin, of_twin in (copy.deepcopy((model, penalty)), pickle.loads(pickle.dumps((model, penalty)))):
        twin[2] = nn.Linear(4, 4)
        torch.testing.assert_close(of_twin(), regtorch.WeightPenalty(twin, rule)())


def test_a_glob_matches_one_of_several_names() -> None:
    model = network(tied=True)
    penalty = regtorch.WeightPenalty(model, regtorch.L2(1.0), where="0.*")
    untie_by_assigning(model)
    torch.testing.assert_close(penalty(), model[0].weight.square().sum())


def test_wrapped_modules_are_the_same_ones() -> None:
    model = network()
    penalty = regtorch.WeightPenalty(model, regtorch.L2(1.0), where="0.*")
    model[0] = nn.Sequential(model[0])
    torch.testing.assert_close(penalty(), model[0][0].weight.square().sum())


def test_a_removed_bias() -> None:
    layer = nn.Linear(3, 2)
    penalty = regtorch.WeightPenalty(layer, regtorch.L2(1.0), where="all")
    layer.bias = None
    torch.testing.assert_close(penalty(), layer.weight.square().sum())


def test_activities_of_a_module_that_becomes_shared() -> None:
    model = network()
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L1(1.0)))
    share_a_module(model)
    x, out, cost = torch.randn(2, 4, dtype=torch.float64), None, torch.zeros((), dtype=torch.float64)
    for layer in model:
        out = nn.functional.linear(x if out is None else out, layer.weight)
        cost = cost + out.abs().sum() / 2
    model(x)
    torch.testing.assert_close(penalty(), cost)
