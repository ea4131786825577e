"""Properties of every data set."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from regtorch.data.base import split_rows
from regtorch.errors import SettingError
from regtorch.registry import available, create

CONF = Path(__file__).parents[2] / "conf/data"


@pytest.mark.parametrize("name", available("data"))
def test_conf_and_class_have_the_same_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert create("data", **node).to_config() == node == create("data", name).to_config()


@pytest.mark.parametrize("name", available("data"))
@pytest.mark.parametrize(
    "setting",
    [
        {"batch_size": 0},
        {"batch_size": None},
        {"workers": -1},
        {"validation_fraction": 1},
        {"split_seed": -1},
        {"batchsize": 3},
    ],
    ids=str,
)
def test_invalid_settings_are_named(name, setting):
    with pytest.raises(SettingError, match=next(iter(setting))):
        create("data", name, **setting)


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_check_imports_neither_torch_nor_sklearn(name):
    code = f"""if True:
        import sys
        from regtorch import registry
        registry.create("data", "{name}").check()
        assert not {{"torch", "sklearn", "PIL"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_data_is_reported_without_torch(tmp_path):
    code = f"""if True:
        import sys
        from regtorch import registry
        from regtorch.errors import DataError
        for name in ("fashion_mnist", "cifar10", "arrays", "image_folder"):
            try:
                registry.create("data", name, path={str(tmp_path / "nope")!r}).check()
            except DataError as error:
                assert "nope" in str(error) and "data.path" in str(error) and chr(10) not in str(error), error
            else:
                raise AssertionError(name)
        assert not {{"torch", "sklearn", "PIL"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_split_is_disjoint_and_complete(fraction):
    rest, taken = split_rows(101, fraction, seed=3)
    assert sorted([*rest, *taken]) == list(range(101))
    assert len(taken) == np.ceil(101 * fraction)


def rows(*splits):
    return sorted((*row.ravel(), label) for split in splits for row, label in zip(split.x, split.y, strict=True))


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_parts_are_disjoint_and_complete(name):
    settings = {"standardize": "none"}
    unsplit = create("data", name, validation_fraction=0, **settings).load()
    parts = create("data", name, validation_fraction=0.3, **settings).load()
    assert unsplit.val is None
    assert len(parts.val) == np.ceil(0.3 * len(unsplit.train))
    assert rows(parts.train, parts.val) == rows(unsplit.train)
    assert rows(parts.test) == rows(unsplit.test)


def test_another_seed_results_in_another_split():
    first, second = (create("data", "digits", split_seed=seed).load().test.y for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_loading_twice_reads_once():
    data = create("data", "synthetic")
    assert data.load() is data.load()


def test_a_validation_part_with_all_rows_is_an_error():
    with pytest.raises(ValueError, match=r"validation_fraction=0\.99 leaves none"):
        create("data", "synthetic", rows=10, validation_fraction=0.99).check()
