"""Run a function on two gloo processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _worker(rank: int, port: int, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        function(rank, *args)
    finally:
        dist.destroy_process_group()


def on_two_ranks(function: Callable[..., None], *args: Any) -> None:
    """Call ``function(rank, *args)`` on two processes; an assertion that fails on either fails here."""
    mp.spawn(_worker, args=(_free_port(), function, args), nprocs=2)
