"""For every optimizer: a checkpoint with its state is accepted, and one with incomplete state is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import DataError
from regtorch.training.resumable import check_resumable

PATH = Path("last.ckpt")


def trained(name: str) -> tuple[dict[str, Any], nn.Module, dict[str, Any]]:
    """Return a configuration, a module, and the content of its checkpoint after a step."""
    module = nn.Linear(4, 2)
    node = {"name": name, "lr": 0.1}
    optimizer: Any = regtorch.create("optimizer", **node, params=module.parameters())
    module(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    content = {"state_dict": module.state_dict(), "optimizer_states": [optimizer.state_dict()], "global_step": 1}
    config = {"optimizer": node, "trainer": {"precision": "32-true"}}
    return config, module, copy.deepcopy(content)


def with_state(name: str) -> dict[str, Any]:
    state: dict[str, Any] = trained(name)[2]["optimizer_states"][0]["state"].get(0, {})
    return {key: value for key, value in state.items() if value is not None}


OPTIMIZERS = sorted(regtorch.available("optimizer"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complete_state_is_accepted_and_the_random_state_is_unchanged(name: str) -> None:
    config, module, content = trained(name)
    before = torch.get_rng_state()
    check_resumable(config, module, content, PATH)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_missing_state_is_named(name: str) -> None:
    config, module, content = trained(name)
    for key in with_state(name):
        damaged = copy.deepcopy(content)
        del damaged["optimizer_states"][0]["state"][0][key]
        with pytest.raises(DataError, match=rf"last.ckpt is incomplete: .*weight 0 lacks {key}"):
            check_resumable(config, module, damaged, PATH)
    content["optimizer_states"][0]["state"] = {}
    if with_state(name):
        with pytest.raises(DataError, match="no optimizer state"):
            check_resumable(config, module, content, PATH)


def test_some_optimizers_have_a_state() -> None:
    assert sum(bool(with_state(name)) for name in OPTIMIZERS) >= 5


def test_a_state_of_another_shape_is_refused() -> None:
    config, module, content = trained("adam")
    content["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(3)
    with pytest.raises(DataError, match=r"exp_avg of weight 0 has the shape \(3,\)"):
        check_resumable(config, module, content, PATH)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "the checkpoint lacks bias"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2), "more": torch.zeros(1)}, "the model has no more"),
        ({"weight": torch.zeros(2, 5), "bias": torch.zeros(2)}, r"weight has the shape \(2, 5\) in it, but \(2, 4\)"),
    ],
)
def test_weights_of_another_model_are_refused(weights: dict[str, torch.Tensor], message: str) -> None:
    config, module, content = trained("adam")
    with pytest.raises(DataError, match=message):
        check_resumable(config, module, {**content, "state_dict": weights}, PATH)


def test_steps_that_a_loss_scale_may_have_skipped_leave_no_state() -> None:
    config, module, content = trained("adam")
    content["optimizer_states"][0]["state"] = {}
    config["trainer"]["precision"] = "16-mixed"
    check_resumable(config, module, content, PATH)
