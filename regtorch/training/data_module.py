"""A data set as a Lightning DataModule."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import lightning.pytorch as lightning
from torch import Tensor
from torch.utils.data import DataLoader

from regtorch.data.base import DataSet, Split
from regtorch.data.batches import loader
from regtorch.training.progress import Position, position
from regtorch.training.workers import fail_fast

#: batch size for evaluation; the results do not depend on it
EVALUATION_BATCH = 512

Loader = DataLoader[tuple[Tensor, Tensor]]


class DataModule(lightning.LightningDataModule):
    """Batches of a data set: shuffled for training, in order for everything else.

    Args:
        data: the data set.
        seed: seed for the order of the training rows.
    """

    def __init__(self, data: DataSet, seed: int) -> None:
        super().__init__()
        self.data = data
        self.splits = data.load()
        self.seed = seed
        self._start = Position(0, 0)

    def train_dataloader(self) -> Loader:
        """Return shuffled batches of the training part; training can resume in the middle of an epoch."""
        data = self.data
        batches = loader(
            self.splits.train,
            data.batch_size,
            shuffle=True,
            reshuffle=data.reshuffle,
            workers=data.workers,
            seed=self.seed,
            **self._ranks(),
        )
        dealt: Any = batches.batch_sampler
        dealt.skip = self._start.batches
        dealt.sampler.set_epoch(self._start.epochs)
        return fail_fast(batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training data, which a checkpoint stores."""
        assert self.trainer is not None
        return asdict(position(self.trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position in the training data, which may be in the middle of an epoch."""
        self._start = Position(**state_dict)

    def val_dataloader(self) -> Any:
        """Return batches of the validation part, or an empty list if there is none."""
        return [] if self.splits.val is None else self.evaluation(self.splits.val)

    def test_dataloader(self) -> Loader:
        """Return batches of the test part."""
        return self.evaluation(self.splits.test)

    def predict_dataloader(self) -> Loader:
        """Return batches of the complete test part. Lightning distributes them over the processes, and records their rows."""
        return fail_fast(
            loader(self.splits.test, max(self.data.batch_size, EVALUATION_BATCH), workers=self.data.workers)
        )

    def evaluation(self, split: Split) -> Loader:
        """Return batches of a part in order, distributed over the processes."""
        rows = max(self.data.batch_size, EVALUATION_BATCH)
        return fail_fast(loader(split, rows, workers=self.data.workers, **self._ranks()))

    def _ranks(self) -> dict[str, Any]:
        trainer = self.trainer
        return {} if trainer is None else {"rank": trainer.global_rank, "world_size": trainer.world_size}
