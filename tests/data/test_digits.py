import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from regtorch import create


@pytest.fixture(scope="module")
def sklearns():
    digits = load_digits()
    return train_test_split(digits.data, digits.target, test_size=0.2, random_state=42)


def rows(split):
    return split.x.reshape(len(split), -1)


def test_the_split_is_that_of_sklearn(sklearns):
    x, x_test, y, y_test = sklearns
    splits = create("data", "digits", standardize="none", validation_fraction=0).load()
    np.testing.assert_array_equal(rows(splits.train), x)
    np.testing.assert_array_equal(rows(splits.test), x_test)
    np.testing.assert_array_equal(splits.train.y, y)
    np.testing.assert_array_equal(splits.test.y, y_test)
    assert splits.shape == (1, 8, 8)


@pytest.mark.parametrize("validation_fraction", [0, 0.1])
def test_standardized_like_a_standard_scaler_that_is_fitted_on_the_training_rows(sklearns, validation_fraction):
    x, x_test, _, _ = sklearns
    val = None
    if validation_fraction:
        x, val = train_test_split(x, test_size=validation_fraction, random_state=42)
    scaler = StandardScaler().fit(x)
    splits = create("data", "digits", validation_fraction=validation_fraction).load()
    np.testing.assert_allclose(rows(splits.train), scaler.transform(x), atol=1e-6)
    np.testing.assert_allclose(rows(splits.test), scaler.transform(x_test), atol=1e-5)
    if val is not None:
        np.testing.assert_allclose(rows(splits.val), scaler.transform(val), atol=1e-5)


def test_standardized_on_all_rows_as_in_the_notebook():
    digits = load_digits()
    x, x_test = train_test_split(StandardScaler().fit_transform(digits.data), test_size=0.2, random_state=42)
    splits = create("data", "digits", standardize="all", validation_fraction=0).load()
    np.testing.assert_allclose(rows(splits.train), x, atol=1e-6)
    np.testing.assert_allclose(rows(splits.test), x_test, atol=1e-6)
    assert splits.train.x.dtype == np.float32
