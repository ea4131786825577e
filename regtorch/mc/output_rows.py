"""Where a model's output has the rows of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import SettingError
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.model_state import unchanged
from regtorch.mc.output_selection import Output
from regtorch.mc.output_transform import Transform, parts_to_predict
from regtorch.mc.watch import saved_random_state, training_mode_of

#: numbers of rows of which the one that differs from the batch's is tried
_TRIED = (2, 3)


def dim_of_rows(model: nn.Module, batch: BatchArgs, transform: Transform, select: Output) -> int:
    """The dimension of a model's output that has the rows of a batch: the first, or the one that the batch has them in.

    Where both have as many entries, the model is tried on another number of rows.

    Args:
        model: the model.
        batch: the batch.
        transform: of the output; a function makes rows of the output itself.
        select: which part of the output is predicted.

    Raises:
        SettingError: both may be.
    """
    if not batch.batch_dim or callable(transform):
        return 0
    shape = _shape(model, batch, transform, select)
    dims = {0, batch.batch_dim % batch.first.ndim, batch.batch_dim % max(1, len(shape))}
    found = [dim for dim in sorted(dims) if dim < len(shape) and shape[dim] == batch.rows]
    if len(found) < 2:
        return found[0] if found else 0
    rows = next(rows for rows in _TRIED if rows != batch.rows)
    try:
        tried = _shape(model, batch.take(torch.arange(rows) % batch.rows), transform, select)
    except Exception:  # not every model takes fewer rows, or the same one twice
        tried = shape
    follow = [dim for dim in found if len(tried) == len(shape) and tried[dim] == rows]
    if len(follow) == 1:
        return follow[0]
    if callable(select):  # such a function may put the rows first
        return 0
    raise SettingError(
        f"the model gives shape {shape} for {batch.rows} rows, which dimensions {' and '.join(map(str, found))} may be: "
        f"choose by a function that puts the rows first, such as output=lambda output: output.movedim({found[1]}, 0)"
    )


def check_rows(predicted: Tensor, rows: int) -> None:
    """Raise a SettingError unless there is a row for each example."""
    if predicted.ndim and len(predicted) == rows:
        return
    shape = tuple(predicted.shape)
    places = [dim for dim, size in enumerate(shape) if size == rows]
    remedy = (
        f"rows may be dimension {places[0]} here: give batch_dim= where the batch has them in another dimension than 0, or a "
        f"function that puts them first, such as output=lambda output: output.movedim({places[0]}, 0)"
        if places
        else "the first tensor that the model is given sets the number of rows: give the batch first, and batch_dim= where "
        "its rows are in another dimension than 0"
    )
    raise SettingError(f"predictions have shape {shape} for {rows} rows: they must have a row for each; {remedy}")


def _shape(model: nn.Module, batch: BatchArgs, transform: Transform, select: Output) -> tuple[int, ...]:
    copy = batch.clone()
    with unchanged(model), training_mode_of(model, ()), saved_random_state():
        output: Any = model(*copy.args, **copy.kwargs)
    return tuple(parts_to_predict(output, transform, select)[0].shape)
