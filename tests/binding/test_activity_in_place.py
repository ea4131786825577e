"""Activity penalties of outputs that later code changes in place have the gradient of the outputs as they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

import regtorch

STRENGTH = 0.1


def plain(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def evaluated(model: nn.Module, x: Tensor) -> Tensor:
    return model.eval()(x)


def checkpointed(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(model, x, use_reentrant=False)


def checkpointed_in_evaluation(model: nn.Module, x: Tensor) -> Tensor:
    return checkpointed(model.eval(), x)


def checkpointed_to_the_end(model: nn.Module, x: Tensor) -> Tensor:
    with set_checkpoint_early_stop(False):
        return checkpointed(model, x)


def nested(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda v: checkpointed(model, v) + 1, x, use_reentrant=False)


def reentrant(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(model, x, use_reentrant=True)


def reentrant_outside(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda v: checkpointed(model, v) + 1, x, use_reentrant=True)


def reentrant_inside(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda v: reentrant(model, v) + 1, x, use_reentrant=False)


def inside_both(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda v: reentrant_inside(model, v) + 1, x, use_reentrant=True)


class Again(nn.Module):
    """The activation changes its input in place at the second pass of a step only."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x.relu() if self.passes == 1 else x.relu_()


AFTER: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "nothing": nn.Identity,
    "hidden": lambda: nn.Sequential(nn.Identity(), nn.Hardtanh(-0.1, 0.1, inplace=True)),
    "leaky": lambda: nn.LeakyReLU(0.5, inplace=True),
}
RUNS = [
    plain,
    evaluated,
    checkpointed,
    checkpointed_in_evaluation,
    checkpointed_to_the_end,
    nested,
    reentrant,
    reentrant_outside,
    reentrant_inside,
    inside_both,
]


def network(after: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), after).double()


def batch(step: int) -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(step)).double().requires_grad_()


def wanted(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Without the layer's own forward, which would be one more pass."""
    value = STRENGTH * nn.functional.linear(x, layer.weight, layer.bias).square().sum() / len(x)
    return value.detach(), torch.autograd.grad(value, layer.weight)[0]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("after", AFTER)
def test_each_way_to_run(run: Callable[..., Tensor], after: str) -> None:
    model = network(AFTER[after]())
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(STRENGTH)), "0")
    for step in range(3):
        x = batch(step)
        model.zero_grad()
        out = run(model, x)
        value, gradient = wanted(model[0], x)
        torch.testing.assert_close(penalty().detach(), value)
        (0 * out.sum() + penalty()).backward()
        torch.testing.assert_close(model[0].weight.grad, gradient)


def test_a_checkpoint_whose_later_passes_change_the_output() -> None:
    model = network(Again())
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(STRENGTH)), "0")
    for step in range(3):
        x = batch(step)
        model.zero_grad()
        (0 * checkpointed(model, x).sum() + penalty()).backward()
        torch.testing.assert_close(model[0].weight.grad, wanted(model[0], x)[1])


@pytest.mark.parametrize("after", AFTER)
def test_inside_a_transformed_function(after: str) -> None:
    model, x = network(AFTER[after]()), batch(0).detach()
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(STRENGTH)), "0")

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return 0 * torch.func.functional_call(model, weights, (x,)).sum() + penalty()

    found = torch.func.grad(loss)({name: w.detach() for name, w in model.named_parameters()})
    torch.testing.assert_close(found["0.weight"], wanted(model[0], x)[1])
