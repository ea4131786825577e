"""Weights that keep shrinking become zero, not subnormal numbers, which slow the CPU down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.training.run import run
from regtorch.training.subnormals import flush_subnormals

TINY = torch.finfo(torch.float32).tiny


def halved() -> float:
    return (torch.tensor(TINY) * 0.5).item()


def test_subnormals_are_zero_inside_and_restored_afterwards() -> None:
    assert halved() > 0
    with flush_subnormals():
        assert halved() == 0
    assert halved() > 0
    with pytest.raises(ValueError, match="inside"), flush_subnormals():
        raise ValueError("inside")
    assert halved() > 0


def test_an_earlier_flush_setting_is_restored() -> None:
    torch.set_flush_denormal(True)
    try:
        with flush_subnormals():
            pass
        assert halved() == 0
    finally:
        torch.set_flush_denormal(False)


def test_training_leaves_no_subnormals(tmp_path: Path) -> None:
    shrinking = [
        "optimizer=sgd",
        "optimizer.lr=0.1",
        "regularizer=l2",
        "regularizer.l2=2",
    ]  # weights shrink to 60 % at each step
    config = compose([*shrinking, "trainer.max_epochs=6", "logger.tensorboard=false"])
    run(config, dataset(config), tmp_path)
    weights = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    kernel = weights["model.hidden.0.linear.weight"].abs()
    assert (kernel == 0).any()
    assert not ((kernel > 0) & (kernel < TINY)).any()
