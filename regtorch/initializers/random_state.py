"""A common random state on all processes that hold shards of a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def random_state_of_first_process(mesh: Any, device: torch.device, generator: torch.Generator | None) -> Iterator[None]:
    """A context in which every process of the mesh has the random state of the first one.

    Afterwards, processes that had this state already keep the advanced state; others return to their own state.

    Args:
        mesh: the device mesh of a DTensor.
        device: the device of the draws.
        generator: the generator of the draws; None: the device's global generator.
    """
    own = _state(device, generator)
    state = own.to(device, copy=True)  # GPU processes can exchange only tensors on the GPU
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
