"""Runs of earlier versions: they are resumed, and continue as if they had never stopped."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from tests.testers.command import ended

#: run folders that earlier versions have written, each trained for two epochs
REFERENCE = Path(__file__).parents[1] / "reference"
SETTINGS = [
    "model.hidden=[8]", "regularizer=l1_l2", "dropout=alpha", "activation=selu", "initializer=lecun_normal",
    "constraint=max_norm", "optimizer=nadam", "mc.samples=5", "logger.tensorboard=false",
]  # fmt: skip


@pytest.mark.parametrize("archive", sorted(REFERENCE.glob("run_of_*.zip")), ids=lambda path: path.stem)
def test_a_run_of_an_earlier_version_is_resumed(archive: Path, tmp_path: Path) -> None:
    with ZipFile(archive) as files:
        files.extractall(tmp_path)
    before = json.loads((tmp_path / "run/results.json").read_text())
    trained = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["regtorch"]
    for arguments in (["resume=run", "trainer.max_epochs=3"], [*SETTINGS, "trainer.max_epochs=3", "hydra.run.dir=new"]):
        done = ended(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    resumed, new = (
        torch.load(tmp_path / folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in ("run", "new")
    )
    assert resumed.keys() == new.keys()
    for name in new:  # bit-identical on the machine that wrote the archive; other processors round differently
        torch.testing.assert_close(resumed[name], new[name], rtol=1e-4, atol=1e-5)
    after = json.loads((tmp_path / "run/results.json").read_text())
    assert (before["epochs"], after["epochs"], after["status"]) == (2, 3, "completed")
    assert after["seconds"] > trained["seconds"]
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 4
