import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regtorch import create
from regtorch.errors import DataError

RNG = np.random.default_rng(0)


def good(n=20, shape=(4,), **changes):
    arrays = {
        "x_train": RNG.standard_normal((n, *shape)),
        "y_train": np.arange(n) % 3,
        "x_test": RNG.standard_normal((6, *shape)),
        "y_test": np.arange(6) % 3,
    }
    return {key: array for key, array in (arrays | changes).items() if array is not None}


@pytest.fixture
def data(tmp_path):
    def save(arrays, **settings):
        np.savez_compressed(tmp_path / "my.npz", **arrays)
        return create("data", "arrays", path=tmp_path / "my.npz", **settings)

    return save


def with_value(value):
    x = RNG.standard_normal((20, 4))
    x[7, 2] = x[9, 1] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (good(y_test=None), "has no y_test; it has: x_train, y_train, x_test; make it"),
        (good(x_val=np.zeros((2, 4))), "has no y_val"),
        (good(y_train=np.arange(19) % 3), "x_train has 20 rows and y_train has 19"),
        (
            good(y_test=np.array([0, 1, 2, 3, 1, 3])),
            "y_test has 2 labels outside the 3 classes, the first is 3 in row 3",
        ),
        (good(y_train=np.arange(20) - 1), "y_train has 1 labels outside the 19 classes, the first is -1 in row 0"),
        (good(y_train=np.arange(20) * 10**12), "give the number of classes as data.classes"),
        (good(y_train=np.zeros(20, int)), "give the number of classes"),
        (
            good(y_train=np.arange(20) / 2),
            "y_train has 10 labels that are not integers, the first is 0.5 in row 1: .* regtorch.training.RegularizedModule",
        ),
        (good(y_train=np.zeros((20, 3), int)), "y_train has the shape"),
        (good(x_train=with_value(np.nan)), "x_train has 2 NaN or infinite values, the first in row 7"),
        (good(x_train=with_value(-np.inf)), "x_train has 2 NaN or infinite values, the first in row 7"),
        (good(x_train=with_value(1e300)), "x_train has 2 NaN or infinite values, the first in row 7"),
        (good(x_test=np.zeros((6, 5))), r"x_test has the shape \(5,\), of x_train \(4,\)"),
        (good(x_test=np.zeros((0, 4)), y_test=np.zeros(0, int)), "x_test is empty"),
        (good(x_train=np.zeros((0, 4)), y_train=np.zeros(0, int), classes=3), "y_train has 0 labels"),
        (good(x_val=np.zeros((0, 4)), y_val=np.zeros(0, int)), "x_val is empty"),
        (good(x_train=np.zeros((20, 0)), x_test=np.zeros((6, 0))), "x_train is empty"),
        (good(x_train=np.zeros(20)), "x_train has the shape"),
        (good(x_train=np.full((20, 4), "a")), "x_train has the shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_arrays_are_named_in_one_line(data, arrays, message):
    with pytest.raises(DataError, match=message) as error:
        data(arrays).check()
    assert str(error.value).startswith("data.path=")
    assert "\n" not in str(error.value)


def test_labels_outside_the_given_classes(data):
    with pytest.raises(DataError, match="outside the 2 classes"):
        data(good(), classes=2).check()
    assert len(data(good(), classes=5).load().classes) == 5


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_python_objects_are_refused(data, tmp_path):
    objects = np.empty(20, object)
    objects[:] = [Bomb(str(tmp_path / "boom"))] * 20
    with pytest.raises(DataError, match="plain arrays"):
        data(good(x_train=objects)).check()
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_other_content_is_refused(tmp_path, content):
    path = tmp_path / "my.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as a \.npz"):
        create("data", "arrays", path=path).check()


def test_a_npy_file_is_refused(tmp_path):
    np.save(tmp_path / "my.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"cannot be read as a \.npz"):
        create("data", "arrays", path=tmp_path / "my.npy").check()


@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(data, left):
    broken = data(good(200))
    content = broken.path.read_bytes()
    broken.path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(DataError, match="damaged"):
        broken.check()


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_file_with_a_changed_byte_is_loaded_or_refused(tmp_path_factory, place, byte):
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    np.savez(path, **good())
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = byte
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        create("data", "arrays", path=path).check()


numbers = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_, np.complex64])


@settings(max_examples=80, deadline=None)
@given(
    x=hnp.arrays(numbers, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=3)),
    y=hnp.arrays(
        st.sampled_from([np.uint8, np.int64, np.float64, np.uint64]),
        hnp.array_shapes(max_dims=2, min_side=0, max_side=3),
    ),
    layout=st.sampled_from(["auto", "nchw", "nhwc"]),
)
def test_arbitrary_arrays_are_loaded_correctly_or_refused(tmp_path_factory, x, y, layout):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    try:
        splits = create("data", "arrays", path=path, layout=layout, validation_fraction=0).load()
    except DataError:
        return
    train = splits.train
    assert len(train.x) == len(train.y) == len(x) > 0
    assert train.x.dtype == (np.uint8 if x.dtype == np.uint8 else np.float32)
    assert train.x.size == x.size
    assert np.isfinite(train.x).all()
    assert len(splits.shape) in (1, 3)
    assert 0 <= train.y.min() <= train.y.max() < len(splits.classes)


@pytest.mark.parametrize(
    ("stored", "layout", "shape"),
    [
        ((9,), "auto", (9,)),
        ((5, 6), "auto", (1, 5, 6)),
        ((5, 6, 3), "auto", (3, 5, 6)),
        ((3, 5, 6), "auto", (3, 5, 6)),
        ((3, 5, 3), "auto", (3, 5, 3)),
        ((3, 5, 3), "nhwc", (3, 3, 5)),
        ((5, 6, 2), "auto", (5, 6, 2)),
        ((5, 6, 2), "nhwc", (2, 5, 6)),
    ],
)
def test_layouts(data, stored, layout, shape):
    arrays = good(shape=stored)
    splits = data(arrays, layout=layout, validation_fraction=0).load()
    assert splits.shape == shape
    x = arrays["x_train"].astype(np.float32)
    moved = (len(stored) == 3 and shape != stored) or layout == "nhwc"
    np.testing.assert_array_equal(splits.train.x, np.moveaxis(x, -1, 1) if moved else x.reshape(20, *shape))


def test_labels_in_a_column_and_a_separate_validation_part(data):
    arrays = good(y_train=(np.arange(20) % 3)[:, None].astype(np.uint8))
    splits = data(arrays | {"x_val": arrays["x_test"], "y_val": arrays["y_test"]}).load()
    assert [len(split) for split in splits.parts.values()] == [20, 6, 6]
    assert splits.train.y.dtype == np.int64


def test_vectors_are_standardized_per_feature(data):
    splits = data(good(), standardize="train", validation_fraction=0).load()
    np.testing.assert_allclose(splits.train.x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(splits.train.x.std(0), 1, atol=1e-6)


def test_a_constant_feature_becomes_zero(data):
    x = np.full((20, 4), 0.1)
    x[:, 0] = np.arange(20)
    splits = data(good(x_train=x), standardize="train", validation_fraction=0).load()
    np.testing.assert_allclose(splits.train.x[:, 1:], 0, atol=1e-6)
    np.testing.assert_allclose(splits.train.x[:, 0].std(), 1, rtol=1e-6)


def test_a_missing_path_is_an_error_with_a_remedy():
    with pytest.raises(DataError, match=r"data\.path is not given: it must be the name of a \.npz file"):
        create("data", "arrays").check()
