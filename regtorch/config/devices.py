"""Devices and processes of a run: no more than there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError
from regtorch.settings import COUNT
from regtorch.system.launcher import started_as


def check_devices(trainer: Mapping[str, Any], prefix: str = "trainer.") -> None:
    """Refuse more devices than there are, as far as possible without torch; `prefix` precedes the keys in messages."""
    strategy, precision = trainer.get("strategy"), trainer.get("precision")
    if strategy == "fsdp" and precision in ("16-mixed", 16):
        raise SettingError(
            f"{prefix}precision={precision} is not allowed with {prefix}strategy=fsdp, which does not scale the loss; "
            "take bf16-mixed"
        )
    if trainer.get("devices") == "launched" and started_as() is None:
        raise SettingError(
            f"{prefix}devices=launched (trainer=multi_node) is allowed only in processes that torchrun or srun start: "
            "torchrun --nnodes=2 --nproc-per-node=4 ... scripts/train.py trainer=multi_node; on one machine take trainer=ddp"
        )
    if trainer.get("devices") == "launched":
        return
    if started_as() is not None:
        raise SettingError(
            f"{prefix}devices={trainer.get('devices', 1)} is not allowed in a process that torchrun or srun started; "
            "take trainer=multi_node, which uses all of their processes"
        )
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    cores = os.cpu_count() or 1
    if accelerator in ("gpu", "cuda") and not gpus():
        raise SettingError(
            f"{prefix}accelerator={accelerator} is not allowed: there is no GPU on this machine; "
            f"take {'trainer=cpu' if prefix else 'accelerator=cpu'}"
        )
    if not COUNT.holds(devices):
        if accelerator == "cpu" or (accelerator == "auto" and not gpus()):
            raise SettingError(f"{prefix}devices={devices} is not allowed on the CPU: it must be an integer >= 1")
        return
    if accelerator in ("gpu", "cuda") and gpus() and devices > gpus():
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {gpus()} GPUs")
    if (accelerator == "cpu" or (accelerator == "auto" and not gpus())) and devices > cores:
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {cores} CPU cores")
    if accelerator == "auto" and gpus() and devices > gpus():
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {gpus()} GPUs")


@cache
def gpus() -> int:
    """Return the number of GPUs for this process; imports torch only if a driver is loaded."""
    drivers = (Path("/proc/driver/nvidia/gpus"), Path("/dev/kfd"))
    if os.name == "posix" and Path("/proc").exists() and not any(path.exists() for path in drivers):
        return 0
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def process_count(trainer: Mapping[str, Any], gpus: int) -> int:
    """Return the number of processes that the node ``trainer`` asks for.

    Example:
        >>> process_count({"devices": 2}, gpus=0), process_count({"devices": -1, "accelerator": "gpu"}, gpus=4)
        (2, 4)
    """
    if (place := started_as()) is not None:
        return place[1]
    devices = trainer.get("devices", 1)
    if devices in (-1, "auto"):
        return max(1, gpus) if trainer.get("accelerator") != "cpu" else 1
    return int(devices)
