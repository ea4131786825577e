"""One state of randomness on all the processes that hold shards of a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def as_on_the_first_process(mesh: Any, device: torch.device, generator: torch.Generator | None) -> Iterator[None]:
    """Inside, every process of the mesh draws what its first one does.

    Processes that were in that state already go on from where the draws ended; one seeded otherwise goes on from
    where it was.

    Args:
        mesh: the device mesh of a DTensor.
        device: where is drawn.
        generator: what is drawn from; None: the device's global generator.
    """
    own = _state(device, generator)
    state = own.to(device, copy=True)  # on a GPU the processes can exchange what lies there only
    for dim in range(mesh.ndim):
        group = mesh.get_group(dim)
        torch.distributed.broadcast(state, torch.distributed.get_global_rank(group, 0), group)
    first = state.cpu()
    _set_state(device, generator, first)
    try:
        yield
    finally:
        if not torch.equal(first, own):
            _set_state(device, generator, own)


def _state(device: torch.device, generator: torch.Generator | None) -> Tensor:
    if generator is not None:
        return generator.get_state()
    if device.type == "cpu":
        return torch.get_rng_state()
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def _set_state(device: torch.device, generator: torch.Generator | None, state: Tensor) -> None:
    if generator is not None:
        generator.set_state(state)
    elif device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)
