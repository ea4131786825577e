import pickle
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

from regtorch import create
from regtorch.data.base import Split
from regtorch.data.batches import BatchDataset, loader

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 50)
SCALING = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1), np.float32([2, 3, 4]).reshape(3, 1, 1)
PIXELS = RNG.integers(0, 256, (50, 3, 4, 5), np.uint8)
SPLITS = {
    "vectors": Split(RNG.standard_normal((50, 7), np.float32), Y),
    "images": Split(RNG.standard_normal((50, 3, 4, 5), np.float32), Y),
    "pixels": Split(PIXELS, Y),
    "pixels, channels last": Split(np.moveaxis(np.ascontiguousarray(np.moveaxis(PIXELS, 1, -1)), -1, 1), Y),
    "standardized pixels": Split(PIXELS, Y, SCALING),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_a_batch_contains_its_rows(split):
    dataset = BatchDataset(split)
    rows = [4, 49, 0, 4]
    x, y = dataset.__getitems__(rows)
    expected = split.x[rows] / np.float32(255) if split.x.dtype == np.uint8 else split.x[rows]
    if split.scaling is not None:
        mean, std = split.scaling
        expected = (expected - mean) / std
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(y.numpy(), Y[rows])
    assert x.dtype == torch.float32
    for i, row in enumerate(rows):
        assert torch.equal(dataset[row][0], x[i])
        assert dataset[row][1] == y[i]


def test_the_data_is_neither_changed_nor_copied():
    split = SPLITS["vectors"]
    before = split.x.copy()
    dataset = BatchDataset(split)
    x, _ = dataset.__getitems__([0])
    x += 1
    np.testing.assert_array_equal(split.x, before)
    assert dataset.x.data_ptr() == split.x.ctypes.data


def test_pixels_stay_uint8_and_batches_are_channels_last():
    dataset = BatchDataset(SPLITS["pixels, channels last"])
    assert dataset.x.dtype == torch.uint8
    assert dataset.x.is_contiguous()
    x, _ = dataset.__getitems__([1, 2])
    assert x.is_contiguous(memory_format=torch.channels_last)


def order(batches):
    return [y.tolist() for _, y in batches]


@pytest.fixture
def numbered():
    return Split(np.zeros((50, 2), np.float32), np.arange(50))


def test_one_order_for_all_epochs(numbered):
    kept, other = (loader(numbered, 8, shuffle=True, reshuffle=False, seed=seed) for seed in (1, 2))
    kept.batch_sampler.sampler.set_epoch(3)  # as Lightning does
    epochs = [order(kept) for _ in range(3)]
    assert epochs == [order(loader(numbered, 8, shuffle=True, seed=1))] * 3
    assert epochs[0] != order(other)


def test_the_order_depends_on_the_seed_and_the_epoch(numbered):
    first, again, other = (loader(numbered, 8, shuffle=True, seed=seed) for seed in (1, 1, 2))
    epochs = [order(first) for _ in range(3)]
    assert epochs == [order(again) for _ in range(3)]
    assert epochs != [order(other) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for epoch in epochs:
        assert sorted(chain(*epoch)) == list(range(50))
        assert [len(batch) for batch in epoch] == [8] * 6 + [2]


def test_adjacent_seeds_share_no_order(numbered):
    first, second = (loader(numbered, 8, shuffle=True, seed=seed) for seed in (1, 2))
    order(first)
    assert order(first) != order(second)


def test_an_epoch_can_be_resumed(numbered):
    batches, resumed = (loader(numbered, 8, shuffle=True) for _ in range(2))
    epochs = [order(batches) for _ in range(3)]
    resumed.batch_sampler.sampler.set_epoch(2)
    assert order(resumed) == epochs[2]


def test_rows_keep_their_order_without_shuffle(numbered):
    assert list(chain(*order(loader(numbered, 8)))) == list(range(50))


@pytest.mark.parametrize("shuffle", [False, True])
def test_drop_last(numbered, shuffle):
    batches = loader(numbered, 8, shuffle=shuffle, drop_last=True)
    assert [len(batch) for batch in order(batches)] == [8] * 6
    assert len(batches) == 6


def test_the_global_random_state_is_not_changed(numbered):
    before = torch.get_rng_state()
    order(loader(numbered, 8, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_return_the_same_batches(numbered):
    with_workers, without = (loader(numbered, 8, shuffle=True, workers=workers) for workers in (2, 0))
    assert [order(with_workers), order(with_workers)] == [order(without), order(without)]


def test_a_loader_can_be_pickled(numbered):
    batches = loader(numbered, 8, shuffle=True)
    assert order(pickle.loads(pickle.dumps(batches))) == order(batches)


def test_a_distributed_sampler_can_be_inserted(numbered):
    """Lightning rebuilds a batch sampler as ``type(it)(sampler, batch_size=..., drop_last=...)``."""
    batches = loader(numbered, 8, shuffle=True)
    kind = type(batches.batch_sampler)
    ranks = [kind(DistributedSampler(batches.dataset, 2, rank), batch_size=8, drop_last=False) for rank in (0, 1)]
    rows = [np.concatenate(list(rank)).tolist() for rank in ranks]
    assert sorted(rows[0] + rows[1]) == list(range(50))
    assert [len(rank) for rank in ranks] == [4, 4]


def test_standardized_data_has_mean_zero_and_deviation_one():
    splits = create("data", "digits").load()
    x = torch.cat([x for x, _ in loader(splits.train, 100)])
    varies = x.std(0) > 0
    torch.testing.assert_close(x.mean(0), torch.zeros(1, 8, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0)[varies], torch.ones(int(varies.sum())), atol=1e-5, rtol=0)
