import numpy as np
import pytest
from PIL import Image

from regtorch import create
from regtorch.data.batches import loader
from regtorch.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 10), ("test", 3)):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for image in range(count):
                pixels = np.full((6, 8, 3), [image, 100 * number, 255], np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{image}.png")
    return tmp_path


def data(folder, **settings):
    return create("data", "image_folder", path=folder, image_size=[5, 4], **settings)


def test_files_are_decoded_scaled_and_numbered_by_class(folder):
    splits = data(folder, validation_fraction=0).load()
    x, y = loader(splits.train, 20).dataset.__getitems__(range(20))
    assert splits.classes == ("cat", "dog")
    assert splits.shape == x.shape[1:] == (3, 5, 4)
    assert y.tolist() == [0] * 10 + [1] * 10
    np.testing.assert_allclose(x[:, 0, 2, 2] * 255, [*range(10), *range(10)], atol=1e-4)
    np.testing.assert_allclose(x[:, 1, 0, 0] * 255, 100 * y, atol=1e-4)


def test_workers_fetch_the_same_batches_and_a_val_folder_is_used(folder):
    (folder / "test").rename(folder / "val")
    (folder / "test").symlink_to(folder / "val")
    splits = data(folder).load()
    assert [len(split) for split in splits.parts.values()] == [20, 6, 6]
    for workers in (0, 2):
        labels = [y.tolist() for _, y in loader(splits.train, 8, workers=workers)]
        assert labels == [[0] * 8, [0] * 2 + [1] * 6, [1] * 4]


def test_a_gray_image_becomes_rgb(folder):
    Image.new("L", (3, 3), 51).save(folder / "test/cat/0.png")
    x, _ = loader(data(folder).load().test, 6).dataset[0]
    np.testing.assert_allclose(x, 0.2)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_damaged_image_is_named(folder, content):
    (folder / "test/dog/1.png").write_bytes(content)
    splits = data(folder).load()
    with pytest.raises(DataError, match=r"dog/1\.png cannot be read as an image"):
        list(loader(splits.test, 6))


def test_missing_folders_and_unknown_classes(folder):
    (folder / "test/bird").mkdir()
    (folder / "test/bird/0.png").write_bytes(b"")
    with pytest.raises(DataError, match="bird is a class that train/ does not have"):
        data(folder).check()
    with pytest.raises(DataError, match=r"there is no folder .*cat/train"):
        data(folder / "train/cat").check()
    (folder / "train/dog").rename(folder / "dog")
    with pytest.raises(DataError, match="one for each class"):
        data(folder).check()


def test_pixels_with_more_than_8_bits_are_refused(folder):
    Image.fromarray(np.full((6, 8), 3000, np.uint16)).save(folder / "train/cat/0.png")
    splits = data(folder, validation_fraction=0).load()
    with pytest.raises(DataError, match=r"0\.png cannot be read as an image \(its pixels have more than 8 bits"):
        np.asarray(splits.train.x[[0]])
