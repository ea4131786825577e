"""Checks of a checkpoint's weights: their types, and that they are finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import DataError


def check_types(found: Mapping[str, Any], expected: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights of another kind than the model's, which loading would convert silently.

    Args:
        found: the checkpoint's ``state_dict``.
        expected: the model's ``state_dict``.
        path: the checkpoint's path, for the message.

    Raises:
        DataError: a weight is complex or integer, and the model's is not, or the other way round.
    """
    for name, values in found.items():
        wanted = expected.get(name)
        if isinstance(values, Tensor) and isinstance(wanted, Tensor) and _kind(values) != _kind(wanted):
            type_, right = (str(t.dtype).removeprefix("torch.") for t in (values, wanted))
            raise DataError(f"{path} has {name.removeprefix('model.')} as {type_}, but the model has {right}")


def _kind(values: Tensor) -> tuple[bool, bool]:
    return values.is_floating_point(), values.is_complex()


def check_finite_weights(model: nn.Module, path: Path) -> None:
    """Refuse a model with NaN or infinite weights.

    Raises:
        DataError: names the first such weight.
    """
    for name, values in model.state_dict().items():
        if not torch.isfinite(values).all():
            raise DataError(f"{path} has weights that are not finite ({name}): its training has diverged")
