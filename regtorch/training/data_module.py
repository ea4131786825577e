"""A data set's parts as Lightning's DataModule."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from torch import Tensor
from torch.utils.data import DataLoader

from regtorch.data.base import DataSet, Split
from regtorch.data.batches import loader

#: rows a batch where nothing is learned; the result does not depend on it
EVALUATION_BATCH = 512

Loader = DataLoader[tuple[Tensor, Tensor]]


class DataModule(lightning.LightningDataModule):
    """Batches of a data set: shuffled by `seed` for training, in order for everything else.

    Args:
        data: the data set.
        seed: of the order of the training rows.
    """

    def __init__(self, data: DataSet, seed: int) -> None:
        super().__init__()
        self.data = data
        self.splits = data.load()
        self.seed = seed

    def train_dataloader(self) -> Loader:
        """The training part, shuffled."""
        data = self.data
        return loader(
            self.splits.train,
            data.batch_size,
            shuffle=True,
            reshuffle=data.reshuffle,
            workers=data.workers,
            seed=self.seed,
        )

    def val_dataloader(self) -> Any:
        """The validation part, or nothing."""
        return [] if self.splits.val is None else self.evaluation(self.splits.val)

    def test_dataloader(self) -> Loader:
        """The test part."""
        return self.evaluation(self.splits.test)

    def predict_dataloader(self) -> Loader:
        """The test part."""
        return self.evaluation(self.splits.test)

    def evaluation(self, split: Split) -> Loader:
        """Any part, in order."""
        return loader(split, max(self.data.batch_size, EVALUATION_BATCH), workers=self.data.workers)
