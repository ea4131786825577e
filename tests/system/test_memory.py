"""Impossible memory demands are refused before the allocation, with the name of the setting."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from regtorch.config.compose import compose
from regtorch.config.memory_demands import demands
from regtorch.config.resources import check_holds
from regtorch.errors import DataError, SettingError
from regtorch.runs import job
from regtorch.runs.validate import validate_run
from regtorch.system.memory import OutOfMemoryError, is_out_of_memory
from regtorch.training.build import make_model

SMALL = ["trainer=cpu", "data=synthetic", "data.rows=60", "mc=none"]
IMAGES = [*SMALL, "model=cnn", "data.row_shape=[3,8,8]"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ([*SMALL, "model.hidden=[1000000000000]"], "model.hidden"),
        ([*SMALL, "model.hidden=[64,100000000,100000000]"], "model.hidden"),
        ([*IMAGES, "model.channels=[100000000]"], "model.channels"),
        ([*IMAGES, "model.head=[1000000000000]"], "model.head"),
        ([*IMAGES, "model.kernel_size=100000001"], "model.kernel_size"),
        ([*SMALL, "data.rows=1000000000000"], "data.rows"),
        ([*SMALL, "data.row_shape=[1000000000000]"], "data.row_shape"),
        ([*SMALL, "data.classes=1000000000000"], "data.classes"),
        ([*SMALL, "data.workers=100000"], "data.workers"),
        ([*SMALL, "data.rows=9223372036854775808"], "data.rows"),
    ],
)
def test_the_message_names_the_setting(overrides: list[str], key: str) -> None:
    with pytest.raises(SettingError, match=rf"^{key}=\S+( \S+)* is not allowed: "):
        validate_run(compose(overrides))


@pytest.mark.parametrize("overrides", [SMALL, IMAGES, [*IMAGES, "model.head=[7]", "model.global_pooling=true"]])
def test_the_number_of_weights_is_that_of_the_network(overrides: list[str]) -> None:
    """Only kernels count: biases and normalization are small in comparison."""
    config = compose(overrides)
    shape = tuple(config["data"]["row_shape"])
    kernels = sum(p.numel() for p in make_model(config, shape, 4).parameters() if p.ndim > 1)
    assert next(demands(config, shape, 4, 0, training=False)).bytes == 4 * kernels


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_running_out_of_memory_names_the_largest_demand(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def failing(*given: Any) -> Any:
        raise error

    assert is_out_of_memory(error)
    monkeypatch.setattr(sys.modules["regtorch.training.run"], "run", failing)
    with pytest.raises(OutOfMemoryError, match=r"not enough memory; model.hidden=\[128, 64\] needs memory for"):
        job.train(compose([*SMALL, "model.hidden=[128,64]"]), tmp_path, [])


def test_a_checkpoint_that_cannot_hold_the_network_is_refused(tmp_path: Any) -> None:
    (tmp_path / "best.ckpt").write_bytes(bytes(10_000))
    config = compose([*SMALL, "model.hidden=[100]"])
    check_holds(tmp_path / "best.ckpt", config, (20,), 4, "run=theirs")
    for shape, classes in (((20,), 10**9), ((10**6,), 4)):
        with pytest.raises(DataError, match=r"run=theirs: model.hidden=.* do not belong together"):
            check_holds(tmp_path / "best.ckpt", config, shape, classes, "run=theirs")
