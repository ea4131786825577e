"""Rules on weights that are computed from parameters: they use the value that the layer uses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import regtorch
from regtorch.binding.selection import select
from regtorch.errors import SettingError


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).mT

    def right_inverse(self, w: Tensor) -> Tensor:
        return w.triu()


class Positive(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.exp()


class Halved(nn.Module):
    """Has a right_inverse, but then returns another value."""

    def forward(self, w: Tensor) -> Tensor:
        return w / 2

    def right_inverse(self, w: Tensor) -> Tensor:
        return w


def by_parametrize(layer: nn.Module, parametrization: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", parametrization)


LAYERS: dict[str, Any] = {
    "parametrize": lambda: by_parametrize(nn.Linear(4, 4), Symmetric()),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "weight norm of a convolution": lambda: parametrizations.weight_norm(nn.ConvTranspose1d(4, 2, 3, groups=2)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "older weight norm": lambda: nn.utils.weight_norm(nn.Linear(4, 4)),
    "older spectral norm": lambda: nn.utils.spectral_norm(nn.Linear(4, 4)),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
    "pruned twice": lambda: prune.random_unstructured(
        prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5), "weight", 0.5
    ),
}


@pytest.fixture(params=LAYERS)
def model(request: pytest.FixtureRequest) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(LAYERS[request.param](), nn.Linear(4, 2))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("where", ["kernel", "kernel:*", "*weight*", lambda m, name, w: w.ndim >= 2])
def test_a_penalty_uses_the_weights_that_layers_use(model: nn.Sequential, where: Any) -> None:
    penalty = regtorch.WeightPenalty(model, regtorch.L2(0.1), where)
    assert sorted(penalty.names) == ["0.weight", "1.weight"]
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(1.5)  # after binding, and after the last forward pass
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = penalty()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    tensors = list(model.parameters())
    ours = torch.autograd.grad(found, tensors, allow_unused=True)
    model.eval()  # in training mode spectral norm continues its power iteration
    if not isinstance(model[0], nn.ConvTranspose1d):
        model(torch.ones(1, 4))  # torch's older hooks set the weight in the forward pass
    expected = 0.1 * (model[0].weight.square().sum() + model[1].weight.square().sum())
    torch.testing.assert_close(found, expected)
    theirs = torch.autograd.grad(expected, tensors, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_original_parameters_are_bound_only_under_their_own_names() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))

    def names(where: str) -> list[str]:
        return sorted(place.name for place in select(model, where))

    assert names("all") == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert names("0.*") == ["0.bias", "0.weight"]
    assert names("bias") == ["0.bias", "1.bias"]
    originals = ["0.parametrizations.weight.original0", "0.parametrizations.weight.original1"]
    assert names("*.parametrizations.*") == originals
    assert names("*original1") == originals[1:]
    pruned = nn.Sequential(prune.l1_unstructured(nn.Linear(4, 4), "bias", 0.5))
    assert [place.name for place in select(pruned, "bias")] == ["0.bias"]
    assert [place.name for place in select(pruned, "0.bias_orig")] == ["0.bias_orig"]


def test_a_parametrization_that_is_added_or_removed_after_binding() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    penalty = regtorch.WeightPenalty(model, regtorch.L2(1.0))
    before = penalty()
    parametrizations.weight_norm(model[0])
    torch.testing.assert_close(penalty(), before)
    model[0].parametrizations.weight.original0.data.mul_(2)
    torch.testing.assert_close(penalty(), 4 * before)
    parametrize.remove_parametrizations(model[0], "weight")
    torch.testing.assert_close(penalty(), 4 * before)


def test_a_constraint_changes_computed_weights_only_if_they_violate_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), by_parametrize(nn.Linear(4, 4), Symmetric()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    max_norm = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.3), where="0.weight")
    max_norm.attach(optimizer)
    regtorch.WeightConstraint(model, regtorch.NonNeg(), where="1.weight").attach(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        assert model[0].weight.norm(dim=1).max() <= 0.3 + 1e-6
        assert model[1].weight.min() >= 0
        assert torch.equal(model[1].weight, model[1].weight.mT)
    # the weight stays the same, but its originals differ from those that an assignment would set
    model[0].parametrizations.weight.original1.data.mul_(2)
    before = copy.deepcopy(model.state_dict())
    loose = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=9.0), where="0.weight")
    loose.project()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model[0].requires_grad_(False)
    regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.1), where="0.weight").project()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_constraint_on_an_unsettable_weight_is_refused() -> None:
    for layer in (by_parametrize(nn.Linear(4, 4), Positive()), prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)):
        with pytest.raises(
            SettingError, match=r"cannot be bound to 0\.weight, which is computed from other parameters"
        ):
            regtorch.WeightConstraint(nn.Sequential(layer), regtorch.MaxNorm(max_value=1.0))
    model = nn.Sequential(by_parametrize(nn.Linear(4, 4), Halved()))
    with pytest.raises(SettingError, match=r"cannot be enforced for 0\.weight"):
        regtorch.WeightConstraint(model, regtorch.UnitNorm()).project()


def test_a_partially_frozen_weight_is_not_changed() -> None:
    """Assigning a weight-normalized weight changes its length too, even if that is frozen: this is an error instead."""
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    model[0].parametrizations.weight.original0.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=100.0)).project()
    with pytest.raises(SettingError, match=r"cannot be enforced for 0\.weight: 1 of the parameters .* are frozen"):
        regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.1)).project()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model[0].parametrizations.weight.original0.requires_grad_(True)
    model[0].parametrizations.weight.original1.requires_grad_(False)  # max-norm only needs to change the lengths
    regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.1)).project()
    torch.testing.assert_close(model[0].weight.norm(dim=1), torch.full((4,), 0.1))
    directions = "0.parametrizations.weight.original1"
    assert torch.equal(model.state_dict()[directions], before[directions])


def test_frozen_parameters_are_left_out_until_they_train() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    penalty = regtorch.WeightPenalty(model, regtorch.L2(1.0))
    constraint = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.1))
    frozen = model[0].weight.clone()
    constraint.project()
    assert torch.equal(model[0].weight, frozen)
    torch.testing.assert_close(penalty(), model[1].weight.square().sum())
    model[0].requires_grad_(True)
    torch.testing.assert_close(penalty(), model[1].weight.square().sum() + frozen.square().sum())
    constraint.project()
    assert model[0].weight.norm(dim=1).max() <= 0.1 + 1e-6
