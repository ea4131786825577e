"""torch batches of a part of a data set. One index operation fetches a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from regtorch.data.base import Split


class BatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """A part of a data set as a torch dataset: inputs as float32 (rows, ...), labels as int64 (rows,).

    Pixels are stored as uint8 and scaled to [0, 1] when they are fetched. Image batches are channels-last in memory.

    Args:
        split: the part.
    """

    def __init__(self, split: Split) -> None:
        self.y = torch.from_numpy(split.y)
        self.images = len(split.x.shape) == 4
        # index_select is fast only for contiguous rows, so images are stored as (N, H, W, C)
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
        """Return the batch of these rows (a sequence of numbers, an array or a tensor)."""
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
    """A new order of all rows in each epoch. It depends only on the seed and the number of the epoch.

    Therefore a resumed training has the same orders as one without interruption. Lightning calls `set_epoch`; without
    it, epochs are counted.

    Args:
        dataset: any object with a length.
        seed: seed of all orders.
        reshuffle: False keeps the order of the first epoch.
    """

    def __init__(self, dataset: Any, seed: int, reshuffle: bool = True) -> None:
        super().__init__(dataset)
        self.seed, self.epoch, self.reshuffle = seed, 0, reshuffle

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch if self.reshuffle else 0
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        self.epoch += 1
        yield from order.tolist()


class DistributedBatchSampler(BatchSampler):
    """The batches of one process: its share of every global batch, as an array of row numbers.

    A global batch has ``world_size * batch_size`` rows in the order of the sampler, and each process gets a contiguous
    share of them. The last batch may be smaller; it is divided as evenly as possible. So every row occurs once, and in
    the same step for every number of processes. A process without a row gets the first row of the batch, so that all
    processes take the same number of steps; `share` reports that this row does not count.

    The order is drawn at the first batch, not earlier: with workers, `DataLoader` creates one iterator that it never uses.

    Args:
        sampler: yields the row numbers in order.
        batch_size: rows per batch and process.
        drop_last: omit a last batch that is smaller.
        rank: rank of this process.
        world_size: number of processes.

    Example:
        >>> samplers = [DistributedBatchSampler(SequentialSampler(range(9)), 2, False, rank, 2) for rank in (0, 1)]
        >>> [[batch.tolist() for batch in batches] for batches in samplers]
        [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [8]]]
        >>> [batches.share(2) for batches in samplers]
        [(1, 1), (0, 1)]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.rank, self.world_size = rank, world_size
        #: batches to skip at the start of the next epoch, as a resumed run was already trained on them
        self.skip = 0

    def __len__(self) -> int:
        rows, global_size = len(self.sampler), self.batch_size * self.world_size  # type: ignore[arg-type]
        return rows // global_size if self.drop_last else -(-rows // global_size)

    def __iter__(self) -> Iterator[Any]:
        rows = np.fromiter(self.sampler, np.int64)
        global_size, first, self.skip = self.batch_size * self.world_size, self.skip, 0
        for index in range(first, len(self)):
            together = rows[index * global_size : (index + 1) * global_size]
            own = np.array_split(together, self.world_size)[self.rank]
            yield own if len(own) else together[:1]

    def share(self, index: int) -> tuple[int, int]:
        """Return the number of rows of a batch that count on this process, and on all processes together."""
        global_size = self.batch_size * self.world_size
        together = min(global_size, len(self.sampler) - index * global_size)  # type: ignore[arg-type]
        own, more = divmod(together, self.world_size)
        return own + (self.rank < more), together


class _SpareGenerator(torch.Generator):
    """The source of `DataLoader` for the seeds of its workers, instead of torch's global random state.

    Nothing uses these seeds. The generator is pickled without its state, as torch's own pickling fails in spawned processes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _identity(batch: Any) -> Any:
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
    world_size: int = 1,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Create a `DataLoader` of batches (x, y). Lightning can insert its distributed sampler.

    Args:
        split: the part of a data set.
        batch_size: rows per batch and process.
        shuffle: whether each epoch has a new order.
        reshuffle: False keeps one order for all epochs.
        workers: processes that fetch batches; 0 for none.
        seed: seed of the orders; torch's global random state is not used.
        drop_last: omit a last batch that is smaller.
        rank: rank of this process, if several processes share every batch.
        world_size: number of these processes.

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
        batch_sampler=DistributedBatchSampler(sampler, batch_size, drop_last, rank, world_size),
        collate_fn=_identity,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=_SpareGenerator(),
        pin_memory=torch.cuda.is_available(),
    )
