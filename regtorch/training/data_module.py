"""A data set's parts as Lightning's DataModule."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import lightning.pytorch as lightning
from torch import Tensor
from torch.utils.data import DataLoader

from regtorch.data.base import DataSet, Split
from regtorch.data.batches import loader
from regtorch.training.position import Position, position
from regtorch.training.workers import fail_fast

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
        self._start = Position(0, 0)

    def train_dataloader(self) -> Loader:
        """The training part, shuffled; it can go on in the middle of an epoch."""
        data = self.data
        batches = loader(
            self.splits.train,
            data.batch_size,
            shuffle=True,
            reshuffle=data.reshuffle,
            workers=data.workers,
            seed=self.seed,
            **self._dealt(),
        )
        dealt: Any = batches.batch_sampler
        dealt.skip = self._start.batches
        dealt.sampler.set_epoch(self._start.epochs)
        return fail_fast(batches)

    def state_dict(self) -> dict[str, Any]:
        """Where in the data a training is; part of its checkpoints."""
        assert self.trainer is not None
        return asdict(position(self.trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, also in the middle of an epoch."""
        self._start = Position(**state_dict)

    def val_dataloader(self) -> Any:
        """The validation part, or nothing."""
        return [] if self.splits.val is None else self.evaluation(self.splits.val)

    def test_dataloader(self) -> Loader:
        """The test part."""
        return self.evaluation(self.splits.test)

    def predict_dataloader(self) -> Loader:
        """The test part, whole: Lightning deals it to the processes itself, and notes the rows."""
        return fail_fast(
            loader(self.splits.test, max(self.data.batch_size, EVALUATION_BATCH), workers=self.data.workers)
        )

    def evaluation(self, split: Split) -> Loader:
        """Any part, in order, dealt to the processes."""
        rows = max(self.data.batch_size, EVALUATION_BATCH)
        return fail_fast(loader(split, rows, workers=self.data.workers, **self._dealt()))

    def _dealt(self) -> dict[str, Any]:
        trainer = self.trainer
        return {} if trainer is None else {"rank": trainer.global_rank, "ranks": trainer.world_size}
