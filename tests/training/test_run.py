"""A run's folder, its results, and that the same seed gives the same bits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.build import make_module
from regtorch.training.metrics import TrainingMetrics
from regtorch.training.run import run

ALPHA = ["regularizer=l1_l2", "dropout=alpha", "activation=selu", "initializer=lecun_normal"]


def train(folder: Path, *overrides: str) -> dict:
    folder.mkdir(exist_ok=True)
    config = compose(["trainer.max_epochs=3", "mc.samples=5", *overrides])
    validate_run(config)
    run(config, dataset(config), folder, overrides=overrides)
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("run")
    return folder, train(folder, *ALPHA)


def test_the_results_are_what_the_design_pins(finished: tuple[Path, dict]) -> None:
    folder, results = finished
    pinned = (
        "status seed epochs seconds parameters train train_eval val test test_mc sparsity advice versions overrides"
    )
    assert list(results) == [*pinned.split(), "class_names", "output_transform", "rules"]
    assert results["status"] == "completed"
    assert results["epochs"] == 3
    assert results["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    assert list(results["test"]) == ["accuracy", "loss", "nll", "brier", "ece"]
    assert set(results["test_mc"]) == {*results["test"], "samples"}
    assert set(results["train"]) == {"loss", "data_loss", "penalty", "accuracy"}
    assert results["train"]["loss"] == pytest.approx(results["train"]["data_loss"] + results["train"]["penalty"])
    assert results["train_eval"]["accuracy"] > results["train"]["accuracy"]  # it is better without dropout
    assert results["overrides"] == ALPHA
    assert results["sparsity"] == 0.0
    assert not list(folder.glob(".results*"))


def test_the_folder_holds_metrics_tensorboard_and_checkpoints(finished: tuple[Path, dict]) -> None:
    folder, results = finished
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name in ("loss", "data_loss", "penalty", "accuracy", "val_loss", "val_accuracy", "lr"):
        assert all(row[name] for row in rows)
    assert float(rows[-1]["loss"]) == pytest.approx(results["train"]["loss"])
    assert list((folder / "tensorboard").glob("events*"))
    for name in ("best", "last"):
        assert torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["regtorch"]["classes"] == 10


def test_the_checkpoint_named_by_evaluate_is_measured(tmp_path: Path) -> None:
    results = train(tmp_path, "optimizer.lr=0.3", "evaluate=last")
    config = compose([])
    splits = dataset(config).load()
    module = make_module(config, splits.shape, len(splits.classes))
    accuracies = {}
    for name in ("best", "last"):
        module.load_state_dict(torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"])
        x, y = (torch.as_tensor(part) for part in (splits.test.x, splits.test.y))
        accuracies[name] = (module.model.eval()(x).argmax(1) == y).float().mean().item()
    assert results["test"]["accuracy"] == pytest.approx(accuracies["last"])


def test_means_are_over_rows_not_batches(tmp_path: Path) -> None:
    results = train(tmp_path, "evaluate=last", "trainer.max_epochs=2")
    config = compose([])
    splits = dataset(config).load()
    module = make_module(config, splits.shape, len(splits.classes))
    module.load_state_dict(torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    x, y = (
        torch.as_tensor(splits.train.x).double(),
        torch.as_tensor(splits.train.y),
    )  # 1,293 rows: not a multiple of the batch size
    nll = torch.nn.functional.cross_entropy(module.model.double().eval()(x), y).item()
    assert results["train_eval"]["nll"] == pytest.approx(nll, rel=1e-5)


def test_the_epochs_training_loss_is_the_mean_over_its_rows() -> None:
    metrics = TrainingMetrics(2)
    for step, (rows, loss) in enumerate(((3, 1.0), (1, 5.0)), start=1):
        metrics.add(
            step, torch.tensor(loss), torch.tensor(0.5), torch.zeros(rows, 2), torch.zeros(rows, dtype=torch.long)
        )
    metrics.flush(2)
    assert metrics.compute() == {"loss": 2.5, "data_loss": 2.0, "penalty": 0.5, "accuracy": 1.0}


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    weights = {}
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        train(tmp_path / name, *ALPHA, f"seed={seed}", "augmentation=flip")
        weights[name] = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(w, weights["two"][key]) for key, w in weights["one"].items())
    assert not all(torch.equal(w, weights["three"][key]) for key, w in weights["one"].items())


def test_resuming_from_a_checkpoint_gives_the_results_of_an_uninterrupted_run(tmp_path: Path) -> None:
    train(tmp_path / "complete", "trainer.max_epochs=4")
    train(tmp_path / "half", "trainer.max_epochs=2")
    config = compose(["trainer.max_epochs=4"])
    (tmp_path / "rest").mkdir()
    run(config, dataset(config), tmp_path / "rest", ckpt_path=tmp_path / "half/checkpoints/last.ckpt")
    one, two = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("complete", "rest")
    )
    assert one["global_step"] == two["global_step"]
    assert all(torch.equal(w, two["state_dict"][key]) for key, w in one["state_dict"].items())


def test_soft_thresholding_makes_exact_zeros(tmp_path: Path) -> None:
    assert train(tmp_path, "constraint=soft_threshold", "constraint.strength=1.0")["sparsity"] > 0.05


def test_early_stopping_stops(tmp_path: Path) -> None:
    stopping = ["callbacks=early_stopping", "callbacks.patience=2", "callbacks.min_delta=10"]
    assert train(tmp_path, *stopping, "trainer.max_epochs=9")["epochs"] == 3


def test_without_a_validation_part(tmp_path: Path) -> None:
    results = train(tmp_path, "data.validation_fraction=0", "callbacks=early_stopping")
    assert results["val"] is None
    assert results["status"] == "completed"


def test_mixed_precision_on_the_cpu(tmp_path: Path) -> None:
    results = train(tmp_path, *ALPHA, "trainer=cpu", "trainer.precision=bf16-mixed", "trainer.max_epochs=10")
    assert results["test"]["accuracy"] > 0.85
