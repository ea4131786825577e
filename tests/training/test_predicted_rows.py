"""Prediction with Lightning: each row once and in order, with one process and with two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import regtorch
from regtorch.errors import DataError
from regtorch.mc import MCPrediction, MCPredictor
from regtorch.training import Classifier, PredictedRows, in_order
from regtorch.training.build import load_weights

ROWS, BATCH, SAMPLES = 101, 8, 12


def made() -> tuple[Classifier, Tensor]:
    """A small classifier, in training mode, and rows for it; the same in every process."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), regtorch.Dropout(drop_prob=0.5), nn.Linear(16, 3)
    )
    return Classifier(model, 3), torch.randn(ROWS, 6)


def predicted_by_lightning(module: Classifier, x: Tensor, **settings) -> MCPrediction | Tensor | None:
    batches = DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=BATCH)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **settings
    )
    return in_order(trainer.predict(module, batches))


def test_without_a_predictor_dropout_is_off() -> None:
    module, x = made()
    predicted = predicted_by_lightning(module, x)
    assert isinstance(predicted, Tensor)
    torch.testing.assert_close(predicted, module.model.eval()(x).softmax(1))


def test_a_predictor_switches_dropout_on_in_eval_mode() -> None:
    module, x = made()
    module.predictor = MCPredictor(module.model, samples=SAMPLES, seed=3)
    complete = module.predictor(x)
    predicted = predicted_by_lightning(module, x)
    assert isinstance(predicted, MCPrediction)
    assert predicted.std.min() > 1e-3
    torch.testing.assert_close(predicted.mean, complete.mean)
    torch.testing.assert_close(predicted.std, complete.std)
    assert predicted.samples_used.tolist() == [SAMPLES] * ROWS
    assert module.model.training
    assert not module.model[1].running_mean.any()  # batch normalization was in eval mode


TWO_PROCESSES = """
import sys
import torch
from tests.training.test_predicted_rows import SAMPLES, MCPredictor, made, predicted_by_lightning

module, x = made()
counts = []
module.on_predict_batch_end = lambda predicted, *_: counts.append(len(predicted.rows))
off = predicted_by_lightning(module, x, strategy="ddp", devices=2)
module.predictor = MCPredictor(module.model, samples=SAMPLES, seed=3)
on = predicted_by_lightning(module, x, strategy="ddp", devices=2)
rank = torch.distributed.get_rank()
assert (off is None) == (on is None) == (rank == 1)
torch.save({"counts": counts}, f"{sys.argv[1]}/{rank}.pt")
if rank == 0:
    torch.save({"off": off, "mean": on.mean, "std": on.std}, f"{sys.argv[1]}/predicted.pt")
"""


def test_two_processes_predict_each_row_once_and_in_order(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = [sum(torch.load(tmp_path / f"{rank}.pt")["counts"]) for rank in (0, 1)]
    assert counts == [2 * 51, 2 * 50]  # all rows twice, without repeated rows
    predicted = torch.load(tmp_path / "predicted.pt")
    module, x = made()
    one = MCPredictor(module.model, samples=SAMPLES, seed=3)(x)
    torch.testing.assert_close(predicted["off"], module.model.eval()(x).softmax(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(predicted["mean"], one.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(predicted["std"], one.std, rtol=0, atol=1e-6)


def rows(*numbers: int) -> PredictedRows:
    return PredictedRows(torch.tensor(numbers), torch.tensor([[float(number)] for number in numbers]))


def test_batches_are_sorted_by_row() -> None:
    assert in_order([rows(3, 1), rows(0), rows(2)]).flatten().tolist() == [0, 1, 2, 3]
    assert in_order([]) is None


def test_moments_and_samples_are_sorted_alike() -> None:
    def moments(number: float) -> MCPrediction:
        value = torch.tensor([[number]])
        return MCPrediction(value, value, value, torch.tensor([2]), samples=torch.tensor([[[number]], [[number + 10]]]))

    predicted = in_order([PredictedRows(torch.tensor([1]), moments(1.0)), PredictedRows(torch.tensor([0]), moments(0))])
    assert isinstance(predicted, MCPrediction)
    assert predicted.mean.flatten().tolist() == predicted.std.flatten().tolist() == [0, 1]
    assert predicted.samples is not None
    assert predicted.samples.flatten(1).tolist() == [[0, 1], [10, 11]]
    assert predicted.predictive_entropy is None


@pytest.mark.parametrize("batches", [[rows(0, 1), rows(1, 2)], [rows(0, 2)], [rows(1, 2)]])
def test_a_missing_or_repeated_row_is_an_error(batches: list[PredictedRows]) -> None:
    with pytest.raises(DataError, match="every row must occur once"):
        in_order(batches)


def test_a_loader_without_row_numbers_is_an_error() -> None:
    module, x = made()
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    batches = trainer.predict(module, DataLoader(x.split(BATCH), batch_size=None))
    assert sum(len(batch.prediction) for batch in batches) == ROWS
    with pytest.raises(DataError, match="does not record"):
        in_order(batches)


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    module, _ = made()
    path, mark = tmp_path / "bomb.ckpt", tmp_path / "mark"
    torch.save({"state_dict": module.state_dict(), "callbacks": Bomb(mark)}, path)
    with pytest.raises(DataError, match=r"bomb.ckpt is not allowed: .*mkdir"):
        load_weights(module, path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # without the guard, its code runs


def test_a_checkpoint_of_another_model_is_one_line(tmp_path: Path) -> None:
    module, _ = made()
    weights = module.state_dict()
    torch.save({"state_dict": {**weights, "model.0.weight": torch.zeros(16, 7)}}, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match=r"other.ckpt does not fit .*model.0.weight") as raised:
        load_weights(module, tmp_path / "other.ckpt")
    assert "\n" not in str(raised.value)
    torch.save({"weights": weights}, tmp_path / "none.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "none.ckpt").read_bytes()[:500])
    for name, message in (
        ("none.ckpt", "is not a checkpoint of a regtorch run"),
        ("cut.ckpt", "cannot be read as a checkpoint"),
    ):
        with pytest.raises(DataError, match=message):
            load_weights(module, tmp_path / name)
