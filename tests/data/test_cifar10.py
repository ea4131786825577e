import pickle

import numpy as np
import pytest

from regtorch import create
from regtorch.errors import DataError

RNG = np.random.default_rng(0)
DATA = RNG.integers(0, 256, (6, 5, 3072), np.uint8)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(params=[2, 4])
def folder(request, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, data in enumerate(DATA):
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        batch = {"data": data, "labels": [number, 1, 2, 3, 9]}
        content = pickle.dumps(batch, protocol=request.param)
        if request.param == 2:  # the real files: written by Python 2, with the old name of the module
            content = content.replace(b"numpy._core", b"numpy.core")
        (folder / name).write_bytes(content)
    return folder


def test_images_and_labels(folder):
    splits = create("data", "cifar10", path=folder.parent, validation_fraction=0).load()
    np.testing.assert_array_equal(splits.train.x, DATA[:5].reshape(25, 3, 32, 32))
    np.testing.assert_array_equal(splits.test.x, DATA[5].reshape(5, 3, 32, 32))
    assert splits.train.y.tolist() == [label for number in range(5) for label in (number, 1, 2, 3, 9)]
    assert splits.shape == (3, 32, 32)
    assert splits.train.x.dtype == np.uint8


def test_a_tenth_is_the_validation_part(folder):
    splits = create("data", "cifar10", path=str(folder)).load()
    assert [len(split) for split in splits.parts.values()] == [22, 3, 5]


def test_a_file_that_would_run_code_is_refused(folder, tmp_path):
    bomb = Bomb(tmp_path / "boom")
    pickle.loads(pickle.dumps(bomb)).close()
    assert bomb.path.exists()
    bomb.path.unlink()

    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": DATA[0], "labels": bomb}))
    with pytest.raises(DataError, match=r"data_batch_3 cannot be read, it calls io.open"):
        create("data", "cifar10", path=folder).check()
    assert not bomb.path.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_no_builtin_can_be_called(folder, name):
    (folder / "data_batch_1").write_bytes(f"cbuiltins\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(DataError, match=f"it calls builtins.{name}"):
        create("data", "cifar10", path=folder).check()


@pytest.mark.parametrize(
    "batch", [b"", b"nonsense", pickle.dumps({"data": DATA[0]}), pickle.dumps({"data": DATA[0][:, :7], "labels": [1]})]
)
def test_a_damaged_file_is_named(folder, batch):
    (folder / "test_batch").write_bytes(batch)
    with pytest.raises(DataError, match="test_batch cannot be read"):
        create("data", "cifar10", path=folder).check()


def test_a_missing_file_is_named_with_the_download_command(folder):
    (folder / "test_batch").unlink()
    with pytest.raises(DataError, match=r"test_batch is missing: .*download=True"):
        create("data", "cifar10", path=folder).check()


def test_standardized_per_color_channel(folder):
    split = create("data", "cifar10", path=folder, standardize="train").load().train
    mean, std = split.scaling
    np.testing.assert_allclose(mean.ravel(), (split.x / 255).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.ravel(), (split.x / 255).std((0, 2, 3)), rtol=1e-6)
