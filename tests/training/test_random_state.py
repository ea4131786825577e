"""The states of all generators are restored from data that a checkpoint can hold."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from regtorch.training.random_state import random_state, set_random_state


def draws() -> tuple[list[float], list[float], list[float]]:
    # including normal ones, of which NumPy and Python cache every second one
    numpy = [*np.random.random(3), *np.random.standard_normal(3)]
    return torch.rand(3).tolist() + torch.randn(17).tolist(), numpy, [random.random(), random.gauss(0, 1)]


@pytest.mark.parametrize("used", [0, 1, 700])
def test_draws_are_repeated(used: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    np.random.seed(2)
    random.seed(3)
    for _ in range(used):
        draws()
    random.gauss(0, 1)
    np.random.standard_normal()
    torch.save(random_state(), tmp_path / "state")
    expected = [draws() for _ in range(3)]
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert [draws() for _ in range(3)] == expected


def test_reading_the_state_draws_nothing() -> None:
    state = random_state()
    before = draws()
    set_random_state(state)
    random_state()
    assert draws() == before


@pytest.mark.gpu
def test_a_gpus_draws_are_repeated() -> None:
    torch.rand(1, device="cuda")
    state = random_state()
    before = torch.rand(5, device="cuda")
    set_random_state(state)
    assert torch.equal(torch.rand(5, device="cuda"), before)
