"""Under torch.func a penalty has the same value and derivatives as without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap

import regtorch
from tests.testers.components import CONSTRAINTS, REGULARIZERS, made

Weights = dict[str, Tensor]
X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Loss(nn.Module):
    """A model and its penalty, as a user transforms them."""

    def __init__(self, name: str, frozen: bool = False) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
        self.model[2].requires_grad_(not frozen)
        self.penalty = regtorch.WeightPenalty(self.model, made("regularizer", name))

    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * self.model(x).square().mean() + self.penalty()


def members(name: str, count: int = 3) -> list[Loss]:
    torch.manual_seed(0)
    return [Loss(name) for _ in range(count)]


def weights_of(loss: Loss) -> Weights:
    return {name: w.detach().clone() for name, w in loss.named_parameters()}


def one_by_one(losses: list[Loss]) -> tuple[Tensor, list[Weights]]:
    """Values and gradients of copies, computed by plain autograd."""
    values, gradients = [], []
    for loss in copy.deepcopy(losses):
        value = loss(X)
        named = dict(loss.named_parameters())
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        gradients.append(
            {k: torch.zeros_like(w) if g is None else g for (k, w), g in zip(named.items(), found, strict=True)}
        )
        values.append(value.detach())
    return torch.stack(values), gradients


def of(loss: Loss) -> Callable[[Weights], Tensor]:
    return lambda weights: functional_call(loss, weights, (X,))


def finite_differences(function: Callable[[Weights], Tensor], at: Weights, along: Weights) -> Tensor:
    step = 1e-6
    ahead, back = ({k: w + sign * step * along[k] for k, w in at.items()} for sign in (1, -1))
    return (function(ahead) - function(back)) / (2 * step)


every_regularizer = pytest.mark.parametrize("name", REGULARIZERS)


@every_regularizer
def test_the_ensemble_recipe(name: str) -> None:
    losses = members(name)
    values, gradients = one_by_one(losses)
    base = copy.deepcopy(losses[0]).to("meta")
    parameters, buffers = stack_module_state(losses)

    def one(weights: Weights, buffers: Weights) -> Tensor:
        return functional_call(base, (weights, buffers), (X,))

    for _ in range(2):
        torch.testing.assert_close(vmap(one)(parameters, buffers), values)
        detached = {k: w.detach() for k, w in parameters.items()}
        torch.testing.assert_close(vmap(one)(detached, buffers), values)
        found, each = vmap(grad_and_value(one))(detached, buffers)
        torch.testing.assert_close(each, values)
        for k, g in found.items():
            torch.testing.assert_close(g, torch.stack([gradient[k] for gradient in gradients]))
    torch.testing.assert_close(losses[0](X).detach(), values[0])  # outputs of the transform are not in a plain step


@every_regularizer
def test_values_and_derivatives_of_every_order(name: str) -> None:
    (loss,) = members(name, 1)
    (value,), (gradient,) = one_by_one([loss])
    weights = weights_of(loss)
    along = {k: torch.randn_like(w) for k, w in weights.items()}
    function = of(loss)
    torch.testing.assert_close(function(weights), value)
    found = grad(function)(weights)
    pushed, tangent = jvp(function, (weights,), (along,))
    forward, backward = jacfwd(function)(weights), jacrev(function)(weights)
    torch.testing.assert_close(pushed, value)
    assert tangent.dtype == pushed.dtype
    torch.testing.assert_close(tangent, sum((gradient[k] * along[k]).sum() for k in gradient))
    for k, wanted in gradient.items():
        torch.testing.assert_close(found[k], wanted)
        torch.testing.assert_close(forward[k], wanted)
        torch.testing.assert_close(backward[k], wanted)
    second = hessian(function)(weights)
    for k, w in weights.items():
        curved = sum(torch.tensordot(second[k][j], along[j], dims=along[j].ndim) for j in weights)
        slopes = finite_differences(lambda at, k=k: grad(function)(at)[k], weights, along)
        torch.testing.assert_close(curved, slopes.reshape(w.shape), rtol=1e-4, atol=1e-6)


@every_regularizer
def test_frozen_weights_and_autocast_inside_a_transform(name: str) -> None:
    torch.manual_seed(0)
    loss = Loss(name, frozen=True)
    value, weights = copy.deepcopy(loss)(X).detach(), weights_of(loss)
    torch.testing.assert_close(of(loss)(weights), value)
    torch.testing.assert_close(jvp(of(loss), (weights,), (weights,))[0], value)
    rule, w = made("regularizer", name), torch.randn(2, 3, 4)
    wanted = [vmap(transform(rule))(w) for transform in (lambda f: f, grad, hessian)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [vmap(transform(rule))(w) for transform in (lambda f: f, grad, hessian)]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@every_regularizer
def test_forward_mode_without_func(name: str) -> None:
    rule = made("regularizer", name)
    w, along = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    wanted = jvp(rule, (w,), (along,))[1]
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(rule(forward_ad.make_dual(w, along))).tangent
    torch.testing.assert_close(torch.zeros_like(wanted) if found is None else found, wanted)


@pytest.mark.parametrize("read", ["inside", "not at all", "outside"])
def test_outputs_inside_a_transform_do_not_leave_it(read: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3)).double()
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(0.1)))

    def of_row(row: Tensor) -> Any:
        out = model(row[None])
        return (out, penalty()) if read == "inside" else out

    wanted = 0.1 * nn.functional.linear(X, model[0].weight, model[0].bias).square().sum(1)
    for _ in range(2):
        result = vmap(of_row)(X)
        if read == "inside":
            torch.testing.assert_close(result[1], wanted)
    if read == "outside":
        with pytest.raises(regtorch.SettingError, match=r"read the penalty inside it"):
            penalty()
    else:
        model(X)
        torch.testing.assert_close(penalty(), wanted.sum() / len(X))


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_of_many_weights_at_once(name: str) -> None:
    rule, w = made("constraint", name), torch.randn(3, 4, 5)
    torch.testing.assert_close(vmap(rule)(w), torch.stack([rule(each) for each in w]))
    assert torch.func.grad(lambda v: rule(v).square().sum())(w[0]).isfinite().all()


OF_UNITS = [name for name in regtorch.available("dropout") if not regtorch.create("dropout", name).acts_on_weights]


@pytest.mark.parametrize("name", OF_UNITS)
def test_dropouts_have_forward_mode(name: str) -> None:
    dropout = regtorch.create("dropout", name)
    maps = {"feature_alpha": (2, 3, 4), "variational": (2, 3, 4)}
    sizes = {1: (4,), 3: (4, 4, 4)}.get(dropout.spatial_dims, (8, 8))
    x = torch.randn(maps.get(name, (2, 3, *sizes)))

    def drawn(v: Tensor) -> Tensor:
        torch.manual_seed(0)
        return dropout(v)

    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(drawn(forward_ad.make_dual(x, torch.ones_like(x))))
    torch.manual_seed(0)
    _, pull_back = torch.autograd.functional.vjp(drawn, x, torch.ones_like(x))
    # each output depends only on its own input, so the two sums are equal
    assert out.tangent.sum().item() == pytest.approx(pull_back.sum().item(), rel=1e-5)
