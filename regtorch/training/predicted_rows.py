"""Predictions of `Classifier` for a batch, and gathering the batches of all processes in the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from regtorch.errors import DataError
from regtorch.mc import MCPrediction


@dataclass(frozen=True)
class PredictedRows:
    """The prediction for some rows of a data set.

    Args:
        rows: (batch,) their numbers in the predicted data set; None if the loader does not record them.
        prediction: the moments of the samples, or (batch, classes) probabilities without samples.
    """

    rows: Tensor | None
    prediction: MCPrediction | Tensor

    def to(self, device: torch.device | str) -> PredictedRows:
        """Move to another device; Lightning moves predictions to the CPU with this method."""
        return PredictedRows(None if self.rows is None else self.rows.to(device), self.prediction.to(device))


def row_numbers(trainer: lightning.Trainer, batch_idx: int, dataloader_idx: int = 0) -> Tensor | None:
    """Return the row numbers of a batch in the predict loop, which Lightning's wrapper of the sampler records."""
    loaders = trainer.predict_dataloaders
    loader = loaders[dataloader_idx] if isinstance(loaders, (list, tuple)) else loaders
    seen = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
    return torch.as_tensor(seen[batch_idx]) if seen else None


def in_order(batches: Sequence[PredictedRows] | None) -> MCPrediction | Tensor | None:
    """Gather the results of ``trainer.predict`` from all processes, in row order; call it on all processes.

    Args:
        batches: the result of ``trainer.predict`` on this process.

    Returns:
        On rank 0 the prediction for all rows, None if there are none; on the other ranks None.

    Raises:
        DataError: a row is missing or was predicted twice, or a loader does not record its row numbers.

    Example:
        >>> second, first = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.9, 0.1]])
        >>> in_order([PredictedRows(torch.tensor([1]), second), PredictedRows(torch.tensor([0]), first)])
        tensor([[0.9000, 0.1000],
                [0.2000, 0.8000]])
    """
    everything = _gathered(list(batches or []))
    if not everything:
        return None
    if any(part.rows is None for part in everything):
        raise DataError("the loader does not record its row numbers; predict from a DataLoader with a batch sampler")
    rows = torch.cat([part.rows for part in everything if part.rows is not None])
    order = rows.argsort(stable=True)
    if not torch.equal(rows[order], torch.arange(len(rows))):
        raise DataError(
            f"{len(rows)} predictions are for {len(set(rows.tolist()))} rows up to number {int(rows.max())}: "
            "every row must occur once"
        )
    parts: list[Any] = [part.prediction for part in everything]
    return torch.cat(parts)[order] if isinstance(parts[0], Tensor) else _taken(MCPrediction.cat(parts), order)


def _taken(prediction: MCPrediction, rows: Tensor) -> MCPrediction:
    return prediction.mapped(lambda values, dim: values.index_select(dim, rows))


def _gathered(batches: list[PredictedRows]) -> list[PredictedRows] | None:
    """Gather the batches of all processes on rank 0; None on the other ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    first = torch.distributed.get_rank() == 0
    received: list[Any] | None = [None] * torch.distributed.get_world_size() if first else None
    torch.distributed.gather_object(batches, received)
    return [batch for of_rank in received for batch in of_rank] if received is not None else None
