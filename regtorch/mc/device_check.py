"""A model and a batch on different devices, reported in one line where a pass fails on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from regtorch.errors import SettingError


@contextmanager
def devices_named(model: nn.Module, batch: Iterable[Tensor]) -> Iterator[None]:
    """Report an error of torch's by the devices, if those of the model and of its batch differ or hold no numbers.

    A model may move its input itself, so that devices are compared only after it failed.

    Raises:
        SettingError: in place of torch's error.

    Example:
        >>> model, x = nn.Linear(2, 2), torch.zeros(3, 2, device="meta")
        >>> with devices_named(model, [x]):
        ...     model(x)
        Traceback (most recent call last):
        regtorch.errors.SettingError: the batch is on meta and Linear on cpu: the device meta holds no numbers
    """
    try:
        yield
    except RuntimeError as error:
        of_model = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
        of_batch = {tensor.device for tensor in batch}
        remedy = _remedy(of_model, of_batch)
        if not remedy:
            raise
        name = type(model).__name__
        where = f"the batch is on {_listed(of_batch)} and {name} on {_listed(of_model) or 'no device'}"
        raise SettingError(f"{where}: {remedy}") from error


def _remedy(of_model: set[torch.device], of_batch: set[torch.device]) -> str:
    if torch.device("meta") in of_model | of_batch:
        return "the device meta holds no numbers"
    if of_model and not of_batch <= of_model:
        return f"move it there, such as by x.to({str(min(of_model, key=str))!r})"
    return ""


def _listed(devices: set[torch.device]) -> str:
    return " and ".join(sorted(map(str, devices)))
