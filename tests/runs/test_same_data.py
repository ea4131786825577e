"""A run is resumed only with the same data; otherwise one line names the change, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regtorch.config.compose import compose
from regtorch.errors import DataError
from regtorch.runs.data import _datasets, dataset
from regtorch.runs.earlier_overrides import earlier_overrides
from regtorch.runs.validate import validate_run
from regtorch.training.run import run

SMALL = [
    "data=arrays",
    "trainer=cpu",
    "mc=none",
    "model.hidden=[4]",
    "logger.tensorboard=false",
    "trainer.max_epochs=1",
]


def save(folder: Path, columns: int = 5, seed: int = 0, rows: int = 40, classes: int = 3) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(rows, columns)).astype("f4"), np.arange(rows) % classes
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _datasets.clear()  # read it again, as another process does


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run, next to its data."""
    save(tmp_path)
    overrides = [*SMALL, f"data.path={tmp_path / 'data.npz'}"]
    config = compose(overrides)
    (tmp_path / "run").mkdir()
    run(config, dataset(config), tmp_path / "run", None, overrides)
    (tmp_path / "run/.hydra").mkdir()
    (tmp_path / "run/.hydra/overrides.yaml").write_text(json.dumps(overrides))
    return tmp_path / "run"


def checked(trained: Path, *given: str, key: str = "resume") -> dict[str, Any]:
    overrides = [*SMALL, f"data.path={trained.parent / 'data.npz'}", "trainer.max_epochs=2", *given]
    path = trained if key == "resume" else trained / "checkpoints" / "last.ckpt"
    config = compose([*overrides, f"{key}={path}"])
    validate_run(config)
    return config


CHANGES: dict[str, tuple[dict[str, int], str]] = {
    "other columns": ({"columns": 4}, "rows of shape"),
    "fewer classes": ({"classes": 2}, "2 classes"),
    "other values": ({"seed": 1}, "train: other values, test: other values"),
    "fewer rows": ({"rows": 30}, "train: 40 rows, now 30, test: 40 rows, now 30"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_is_reported_and_nothing_is_written(change: str, trained: Path) -> None:
    settings, message = CHANGES[change]
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    save(trained.parent, **settings)
    with pytest.raises(DataError) as raised:
        checked(trained)
    assert message in str(raised.value)
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_the_same_data_is_resumed_without_a_warning(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    checked(trained)
    assert "changed" not in caplog.text


def test_other_values_are_allowed_once_and_logged(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(trained.parent, seed=1)
    config = checked(trained, "data.changed=allow")
    assert "the data has changed" in caplog.text
    run(config, dataset(config), trained, trained / "checkpoints" / "last.ckpt")
    caplog.clear()
    checked(trained)  # its checkpoint has the digest of the new data
    assert "changed" not in caplog.text
    kept = trained / ".hydra/overrides.yaml"
    kept.write_text(json.dumps([*json.loads(kept.read_text()), "data.changed=allow"]))
    assert "data.changed=allow" not in earlier_overrides([f"resume={trained}"])


def test_a_new_run_from_a_checkpoint_may_have_other_rows(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(trained.parent, seed=1)
    checked(trained, key="ckpt_path")
    assert "the data has changed" in caplog.text


@pytest.mark.parametrize("key", ["resume", "ckpt_path"])
def test_in_the_middle_of_an_epoch_other_rows_are_never_allowed(key: str, trained: Path) -> None:
    path = trained / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["regtorch"] |= {"batches": 1, "epochs": 0}
    torch.save(content, path)
    save(trained.parent, seed=1)
    with pytest.raises(DataError, match="in the middle of an epoch, and the data has changed"):
        checked(trained, "data.changed=allow", key=key)


def test_a_checkpoint_of_an_older_version_has_no_data_digest(trained: Path) -> None:
    path = trained / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    for key in ("data_digest", "table"):
        del content["regtorch"][key]
    del content["regtorch"]["data"]["changed"]
    torch.save(content, path)
    save(trained.parent, seed=1)
    config = checked(trained)
    results = run(config, dataset(config), trained, path)
    assert results["epochs"] == 2
