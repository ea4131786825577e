"""Rules on two devices add up wherever several penalties do; the meta device stands for the second one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.keras.port import KerasPort
from regtorch.training import Classifier, RegularizationCallback, RegularizedModule

DEVICES = ("cpu", "meta")


def penalties(first: str) -> tuple[nn.Module, list[regtorch.WeightPenalty]]:
    """One of the weights and one of the outputs on each device, those of one device first."""
    model = nn.ModuleDict({f"on_{device}": nn.Linear(4, 3, device=device) for device in DEVICES})
    order = sorted(DEVICES, key=lambda device: device != first)
    rules: tuple[Any, ...] = (regtorch.L2(0.1), regtorch.Activity(regtorch.L2(0.1)))
    bound = [
        regtorch.WeightPenalty(model, rule, f"kernel:on_{device}*") for device, rule in itertools.product(order, rules)
    ]
    for device in DEVICES:
        model[f"on_{device}"](torch.ones(5, 4, device=device))
    return model, bound


def of_callback(every: int, accumulates: bool) -> Callable[..., Tensor]:
    def total(model: nn.Module, bound: list[Any]) -> Tensor:
        trainer: Any = SimpleNamespace(
            accumulate_grad_batches=every, fit_loop=SimpleNamespace(_should_accumulate=lambda: accumulates)
        )
        return RegularizationCallback(bound, log=False)._of_batch(trainer, model)  # type: ignore[arg-type]

    return total


TOTALS: dict[str, Callable[..., Tensor]] = {
    "callback": of_callback(1, False),
    "callback, accumulating": of_callback(2, True),
    "callback, the last batch of a step": of_callback(2, False),
    "module": lambda model, bound: RegularizedModule(model, bound).penalty(),
    "classifier": lambda model, bound: Classifier(model, 3, penalties=bound)._penalty_of_activities(),
    "port": lambda model, bound: KerasPort.penalty(SimpleNamespace(penalties=bound)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("first", DEVICES)
@pytest.mark.parametrize("name", TOTALS)
def test_penalties_of_two_devices_add_up(name: str, first: str) -> None:
    total = TOTALS[name](*penalties(first))
    assert (total.device.type, total.shape, total.dtype) == ("meta", (), torch.float32)
