"""Activity penalties of frozen layers, whose outputs have no graph, end with their step as others do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch
from tests.binding.test_activity_steps import STRENGTH, Autoencoder, Parts, batch, bound, check, expected


def of_both(model: Any, x: Tensor, penalty: regtorch.WeightPenalty) -> Tensor:
    return model(x).mean() + penalty()


def logged_alone(model: Any, x: Tensor, penalty: regtorch.WeightPenalty) -> Tensor:
    loss = model(x).mean()
    penalty()
    return loss


def with_passes_in_inference_mode(model: Any, x: Tensor, penalty: regtorch.WeightPenalty) -> Tensor:
    with torch.inference_mode():
        model.decoder(torch.ones(1, 3))
    return model(x).mean() + penalty()


#: how the loss is made, the model, and whether all of it is frozen; a constant that is in no loss needs the model's output
CASES = [
    *itertools.product([of_both, with_passes_in_inference_mode], [Autoencoder, Parts], [False, True]),
    (logged_alone, Autoencoder, False),
]


@pytest.mark.parametrize("where", ["encoder", "*coder"])
@pytest.mark.parametrize(("loss", "make", "all_frozen"), CASES)
def test_each_accumulated_batch_has_its_own_value(loss: Any, make: Any, all_frozen: bool, where: str) -> None:
    torch.manual_seed(0)
    model = make()
    model.encoder.requires_grad_(False)
    model.decoder.requires_grad_(not all_frozen)
    head = nn.Linear(4, 1)
    penalty = bound(model, where)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.0)
    for step in range(6):
        x = batch(3 + step, step)
        wanted = expected(model, x)
        if where == "*coder":
            out = nn.functional.linear(x, model.encoder.weight, model.encoder.bias).tanh()
            out = nn.functional.linear(out, model.decoder.weight, model.decoder.bias)
            wanted += STRENGTH * out.square().sum().item() / len(x)
        value = loss(model, x, penalty)
        check(penalty, wanted)
        (value + 0 * head(x).sum()).backward()
        check(penalty, wanted)
        if step % 3 == 2:
            optimizer.step()


def test_two_passes_through_a_frozen_layer_count_twice() -> None:
    model = Autoencoder()
    model.encoder.requires_grad_(False)
    penalty, x, y = bound(model), batch(5), batch(3, 1)
    for _ in range(2):
        (model(x).mean() + model(y).mean() + penalty()).backward()
        check(penalty, expected(model, x, y))
    first = model(x)
    model(y).mean().backward()
    check(penalty, expected(model, x, y))
    (first.mean() + penalty()).backward()
    assert all(w.grad is None for w in model.encoder.parameters())
