"""What `Classifier` predicts for a batch, and the batches of all processes put together in the order of the rows."""

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
        rows: (batch,) their numbers in the data set that was predicted; None where the loader does not tell.
        prediction: the moments of the samples, or (batch, classes) probabilities where nothing was sampled.
    """

    rows: Tensor | None
    prediction: MCPrediction | Tensor

    def to(self, device: torch.device | str) -> PredictedRows:
        """The same on another device; Lightning gathers predictions on the CPU so."""
        return PredictedRows(None if self.rows is None else self.rows.to(device), self.prediction.to(device))


def row_numbers(trainer: lightning.Trainer, batch_idx: int, dataloader_idx: int = 0) -> Tensor | None:
    """The numbers of the rows of a batch of the predict loop, whose sampler Lightning wraps to write them down."""
    loaders = trainer.predict_dataloaders
    loader = loaders[dataloader_idx] if isinstance(loaders, (list, tuple)) else loaders
    seen = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
    return torch.as_tensor(seen[batch_idx]) if seen else None


def in_order(batches: Sequence[PredictedRows] | None) -> MCPrediction | Tensor | None:
    """What ``trainer.predict`` gave, of all processes together, each row once and in order; call it on all of them.

    Args:
        batches: of this process.

    Returns:
        On the first process the prediction for all rows, None if there are none; on the others None.

    Raises:
        DataError: a row is missing or was predicted twice, or a loader does not tell which rows it gave.

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
        raise DataError("the loader does not tell which rows it gave: predict from a DataLoader with a batch sampler")
    rows = torch.cat([part.rows for part in everything if part.rows is not None])
    order = rows.argsort(stable=True)
    if not torch.equal(rows[order], torch.arange(len(rows))):
        raise DataError(
            f"{len(rows)} predictions are of {len(set(rows.tolist()))} rows up to number {int(rows.max())}: "
            "every row must come once"
        )
    parts: list[Any] = [part.prediction for part in everything]
    return torch.cat(parts)[order] if isinstance(parts[0], Tensor) else _taken(MCPrediction.cat(parts), order)


def _taken(prediction: MCPrediction, rows: Tensor) -> MCPrediction:
    return prediction.mapped(lambda values, dim: values.index_select(dim, rows))


def _gathered(batches: list[PredictedRows]) -> list[PredictedRows] | None:
    """Those of all processes, on the first one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    first = torch.distributed.get_rank() == 0
    received: list[Any] | None = [None] * torch.distributed.get_world_size() if first else None
    torch.distributed.gather_object(batches, received)
    return [batch for of_rank in received for batch in of_rank] if received is not None else None
