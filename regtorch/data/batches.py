"""torch batches of a data set's part, each fetched by one index operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from regtorch.data.base import Split


class BatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """A part of a data set, fetched by rows: inputs as float32 (rows, ...), labels as int64 (rows,).

    Pixels are kept as uint8 and scaled to [0, 1] when fetched. Image batches are channels-last in memory.

    Args:
        split: the part.
    """

    def __init__(self, split: Split) -> None:
        self.y = torch.from_numpy(split.y)
        self.images = len(split.x.shape) == 4
        # index_select copies whole rows at once only if rows are contiguous, so images are kept as (N, H, W, C)
        self.x = (
            torch.from_numpy(np.moveaxis(split.x, 1, -1) if self.images else split.x)
            if isinstance(split.x, np.ndarray)
            else split.x
        )
        self.scaling = None if split.scaling is None else [torch.from_numpy(array) for array in split.scaling]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([row])
        return x[0], y[0]

    def __getitems__(self, rows: Any) -> tuple[Tensor, Tensor]:
        """The batch of these rows (a sequence of numbers, an array or a tensor)."""
        index = torch.as_tensor(rows)
        if isinstance(self.x, Tensor):
            x = self.x.index_select(0, index)
            x = x.permute(0, 3, 1, 2) if self.images else x
        else:
            x = torch.from_numpy(np.asarray(self.x[index.numpy()]))
        if x.dtype == torch.uint8:
            x = x.float().div_(255)
        if self.scaling is not None:
            mean, std = self.scaling
            x = x.sub_(mean).div_(std)
        return x, self.y.index_select(0, index)


class EpochShuffle(RandomSampler):
    """A new order of all rows each epoch, which depends on the seed and the epoch's number alone.

    So a resumed training goes on with the order that the interrupted one would have had: Lightning calls `set_epoch`;
    without it epochs are counted.

    Args:
        dataset: anything with a length.
        seed: of all orders.
        reshuffle: False keeps the first epoch's order.
    """

    def __init__(self, dataset: Any, seed: int, reshuffle: bool = True) -> None:
        super().__init__(dataset)
        self.seed, self.epoch, self.reshuffle = seed, 0, reshuffle

    def set_epoch(self, epoch: int) -> None:
        """The number of the epoch that the next iteration is."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch if self.reshuffle else 0
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        self.epoch += 1
        yield from order.tolist()


class DealtBatchSampler(BatchSampler):
    """Each process's part of every batch, as one array of row numbers: an epoch is drawn at once, cut and dealt.

    A batch of all processes together is ``ranks * batch_size`` rows in the sampler's order, each process's a run of
    them; the last one, which may be smaller, is dealt as evenly as can be. So every row comes once, on every number of
    processes in the same steps. A process for which no row is left gets the batch's first one, so that all of them
    take equally many steps; `share` says that it counts for nothing.

    It is drawn at the first batch, not before: with workers, `DataLoader` makes one iterator that it never asks.

    Args:
        sampler: gives the row numbers in order.
        batch_size: rows a batch and process.
        drop_last: leave out a last batch that is smaller.
        rank: this process's number.
        ranks: how many processes there are.

    Example:
        >>> dealt = [DealtBatchSampler(SequentialSampler(range(9)), 2, False, rank, 2) for rank in (0, 1)]
        >>> [[batch.tolist() for batch in batches] for batches in dealt]
        [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [8]]]
        >>> [batches.share(2) for batches in dealt]
        [(1, 1), (0, 1)]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool, rank: int = 0, ranks: int = 1) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.rank, self.ranks = rank, ranks
        #: batches that the next epoch leaves out at its start, as they were trained on before
        self.skip = 0

    def __len__(self) -> int:
        rows, whole = len(self.sampler), self.batch_size * self.ranks  # type: ignore[arg-type]
        return rows // whole if self.drop_last else -(-rows // whole)

    def __iter__(self) -> Iterator[Any]:
        rows = np.fromiter(self.sampler, np.int64)
        whole, first, self.skip = self.batch_size * self.ranks, self.skip, 0
        for index in range(first, len(self)):
            together = rows[index * whole : (index + 1) * whole]
            own = np.array_split(together, self.ranks)[self.rank]
            yield own if len(own) else together[:1]

    def share(self, index: int) -> tuple[int, int]:
        """How many rows of the batch of this number count on this process, and on all of them together."""
        whole = self.batch_size * self.ranks
        together = min(whole, len(self.sampler) - index * whole)  # type: ignore[arg-type]
        own, more = divmod(together, self.ranks)
        return own + (self.rank < more), together


class _SpareGenerator(torch.Generator):
    """What `DataLoader` draws its workers' seeds from, which nothing uses, instead of torch's global random state.

    Pickled without its state: torch's own way fails in processes that are spawned.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _as_it_is(batch: Any) -> Any:
    return batch


def loader(
    split: Split,
    batch_size: int,
    *,
    shuffle: bool = False,
    reshuffle: bool = True,
    workers: int = 0,
    seed: int = 0,
    drop_last: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A `DataLoader` of batches (x, y); Lightning can put its distributed sampler into it.

    Args:
        split: the part of a data set.
        batch_size: rows a batch.
        shuffle: a new order each epoch.
        reshuffle: False makes it one order for all epochs.
        workers: processes that fetch; 0: none.
        seed: of the orders; leaves torch's global random state alone.
        drop_last: leave out a last batch that is smaller.
        rank: of this process, where several share every batch out among them.
        ranks: how many these are; each takes `batch_size` rows of a batch.

    Example:
        >>> from regtorch import create
        >>> splits = create("data", "digits").load()
        >>> x, y = next(iter(loader(splits.train, 32, shuffle=True)))
        >>> x.shape, y.shape
        (torch.Size([32, 1, 8, 8]), torch.Size([32]))
    """
    dataset = BatchDataset(split)
    sampler = EpochShuffle(dataset, seed, reshuffle) if shuffle else SequentialSampler(dataset)
    return DataLoader(
        dataset,
        batch_sampler=DealtBatchSampler(sampler, batch_size, drop_last, rank, ranks),
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=_SpareGenerator(),
        pin_memory=torch.cuda.is_available(),
    )
