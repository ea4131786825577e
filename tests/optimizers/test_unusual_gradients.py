"""Sparse gradients are treated like dense ones, complex weights like two real numbers, by all optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import regtorch
from tests.testers.components import OPTIMIZERS

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def settings_of(name: str, **wanted: Any) -> dict[str, Any]:
    """The given settings that the optimizer has."""
    has = regtorch.create("optimizer", name, params=[nn.Parameter(torch.ones(1))]).settings()
    return {key: value for key, value in wanted.items() if key in has}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@every_optimizer
def test_a_sparse_gradient_yields_the_step_of_a_dense_one(name: str, weight_decay: float) -> None:
    tables = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Embedding(6, 2, sparse=sparse), nn.Linear(2, 3)])
        optimizer = regtorch.create(
            "optimizer",
            name,
            params=model.parameters(),
            **settings_of(name, weight_decay=weight_decay, momentum=0.5, lr=0.1),
        )
        for step in range(4):
            optimizer.zero_grad()
            model[1](model[0](torch.tensor([1, 2, step, 2]))).square().sum().backward()
            optimizer.step()
        tables.append(model.state_dict())
    for key, w in tables[0].items():
        torch.testing.assert_close(w, tables[1][key])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@every_optimizer
def test_a_complex_weight_is_updated_like_its_real_view(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    number = nn.Parameter(torch.randn(3, dtype=dtype))
    plane = nn.Parameter(torch.view_as_real(number.detach()).clone())
    settings = settings_of(name, weight_decay=0.1, momentum=0.5, lr=0.1)
    optimizers = [regtorch.create("optimizer", name, params=[w], **settings) for w in (number, plane)]
    for _ in range(5):
        gradient = torch.randn(3, dtype=dtype)
        number.grad, plane.grad = gradient.clone(), torch.view_as_real(gradient).clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(torch.view_as_real(number.detach()), plane.detach())


NO_PARAMETERS = [nn.Linear(2, 2), 5, None, "weights", [nn.Linear(2, 2)], [1.0], []]


@pytest.mark.parametrize("params", NO_PARAMETERS, ids=lambda params: type(params).__name__)
@every_optimizer
def test_invalid_parameters_are_named_in_the_message(name: str, params: Any) -> None:
    with pytest.raises(regtorch.SettingError, match=r"^params=.* is not allowed: .*"):
        regtorch.create("optimizer", name, params=params)
