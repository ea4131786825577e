"""Runs a function on two ranks."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _worker(rank: int, port: int, backend: str, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, rank=rank, world_size=2)
    try:
        function(rank, *args)
        dist.barrier()  # a rank must not close a connection that the other still uses
    finally:
        dist.destroy_process_group()


def on_two_ranks(function: Callable[..., None], *args: Any, backend: str = "gloo") -> None:
    """Call ``function(rank, *args)`` on two ranks; a failed assertion on either rank fails here."""
    try:
        _start(function, args, backend)
    except mp.ProcessExitedException as error:
        # one in hundreds of processes aborts with "malloc(): unaligned tcache chunk detected" in torch 2.14 itself;
        # a fault in our code would repeat
        if error.signal_name not in ("SIGABRT", "SIGSEGV"):
            raise
        _start(function, args, backend)


def _start(function: Callable[..., None], args: tuple[Any, ...], backend: str) -> None:
    mp.start_processes(_worker, args=(_free_port(), backend, function, args), nprocs=2, start_method="forkserver")
