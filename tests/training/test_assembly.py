"""Everything in a configuration is built, bound, applied and measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.config.compose import compose
from regtorch.mc import has_dropout
from regtorch.runs.data import dataset
from regtorch.training import NonFiniteLossError
from regtorch.training.build import make_module
from regtorch.training.callbacks import make_callbacks
from regtorch.training.classifier import Classifier
from regtorch.training.data_module import DataModule
from regtorch.training.metrics import EvaluationMetrics
from regtorch.training.run import run


def module_of(*overrides: str, shape: tuple[int, ...] = (1, 8, 8)) -> Classifier:
    return make_module(compose(list(overrides)), shape, 10)


def train(folder: Path, *overrides: str) -> dict[str, Any]:
    config = compose(["trainer.max_epochs=2", "logger.tensorboard=false", *overrides])
    return run(config, dataset(config), folder)


KERNELS = ["hidden.0.linear.weight", "head.weight"]
BIASES = ["hidden.0.linear.bias", "head.bias"]


@pytest.mark.parametrize(
    ("override", "rule", "bound"),
    [
        ("regularizer=l2", regtorch.L2, KERNELS),
        ("regularizer@bias_regularizer=l2", regtorch.L2, BIASES),
        ("regularizer@activity_regularizer=l2", regtorch.Activity, ["hidden.0", "head"]),
        ("regularizer=activity", regtorch.Activity, ["hidden.0", "head"]),
    ],
)
def test_each_place_binds_its_own_weights(override: str, rule: type, bound: list[str]) -> None:
    (penalty,) = module_of(override).penalties
    assert isinstance(penalty.regularizer, rule)
    assert penalty.names == bound


@pytest.mark.parametrize(
    ("override", "bound"), [("constraint=max_norm", KERNELS), ("constraint@bias_constraint=max_norm", BIASES)]
)
def test_each_constraint_binds_its_own_weights(override: str, bound: list[str]) -> None:
    (constraint,) = module_of(override).constraints
    assert constraint.names == bound


def test_several_activity_penalties_and_a_custom_place() -> None:
    (penalty,) = module_of("regularizer@activity_regularizer=several").penalties
    assert penalty.names == ["hidden.0", "head"] * 2
    (penalty,) = module_of("regularizer=l1", "regularizer.where=head.*").penalties
    assert penalty.names == ["head.weight", "head.bias"]


def test_the_penalty_is_in_the_training_loss(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", "optimizer=sgd") if (tmp_path / "plain").mkdir() is None else {}
    (tmp_path / "l2").mkdir()
    train(tmp_path / "l2", "optimizer=sgd", "regularizer=l2", "regularizer.l2=1.0")
    norms = {}
    for name in ("plain", "l2"):
        state = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        norms[name] = float(state["model.hidden.0.linear.weight"].norm())
    assert norms["l2"] < 0.5 * norms["plain"]
    assert plain["train"]["penalty"] == 0.0


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A run whose best epoch is not its last one."""
    folder = tmp_path_factory.mktemp("measured")
    overrides = ["optimizer.lr=0.1", "dropout=standard", "regularizer=l2", "mc.samples=20", "trainer.max_epochs=5"]
    overrides += ["data.validation_fraction=0.4"]
    config = compose(["logger.tensorboard=false", *overrides])
    run(config, dataset(config), folder)
    return folder, config, json.loads((folder / "results.json").read_text())


def restored(folder: Path, config: dict[str, Any], name: str) -> Classifier:
    module = make_module(config, (1, 8, 8), 10)
    module.load_state_dict(torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"])
    module.model.eval()
    return module


@torch.no_grad()
def test_the_results_equal_those_computed_by_hand(measured: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, config, results = measured
    test = dataset(config).load().test
    x, y = torch.as_tensor(test.x), torch.as_tensor(test.y)
    module = restored(folder, config, "best")
    logits = module.model(x)
    last = restored(folder, config, "last").model(x)
    assert not torch.allclose(logits, last)  # otherwise this test could not distinguish best from last
    nll = nn.functional.cross_entropy(logits, y).item()
    penalty = 0.01 * sum(w.square().sum().item() for w in module.model.parameters() if w.ndim > 1)
    one_hot = nn.functional.one_hot(y, 10)
    assert results["test"]["accuracy"] == pytest.approx((logits.argmax(1) == y).float().mean().item())
    assert results["test"]["nll"] == pytest.approx(nll, rel=1e-5)
    assert results["test"]["loss"] == pytest.approx(nll + penalty, rel=1e-5)
    assert results["test"]["brier"] == pytest.approx(
        (logits.softmax(1) - one_hot).square().sum(1).mean().item(), rel=1e-5
    )
    mean = regtorch.MCPredictor(module.model, samples=20, seed=config["seed"])(x).mean
    assert results["test_mc"]["nll"] == pytest.approx(nn.functional.nll_loss(mean.log(), y).item(), rel=1e-4)
    assert results["test_mc"]["nll"] != pytest.approx(results["test"]["nll"], rel=1e-3)


def test_the_validation_loss_includes_the_penalty(measured: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    _, _, results = measured
    assert results["val"]["loss"] - results["val"]["nll"] == pytest.approx(
        results["test"]["loss"] - results["test"]["nll"]
    )
    assert results["val"]["loss"] > results["val"]["nll"]


def test_the_brier_score_of_a_coin() -> None:
    metrics = EvaluationMetrics(2)
    metrics.update(torch.full((4, 2), 0.5).log(), torch.tensor([0, 1, 0, 1]))
    values = metrics.compute()
    assert values["brier"] == pytest.approx(0.5)
    assert values["nll"] == pytest.approx(math.log(2))


def test_training_rows_are_reshuffled_and_others_stay_in_order() -> None:
    batches = DataModule(dataset(compose([])), seed=3)
    rows = batches.splits.train
    loader = batches.train_dataloader()
    epochs = [torch.cat([y for _, y in loader]) for _ in range(2)]
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], torch.as_tensor(rows.y))
    assert torch.equal(epochs[0].sort().values, torch.as_tensor(rows.y).sort().values)
    assert torch.equal(torch.cat([y for _, y in batches.test_dataloader()]), torch.as_tensor(batches.splits.test.y))


def test_without_reshuffling_all_epochs_have_one_order() -> None:
    loader = DataModule(dataset(compose(["data.reshuffle=false"])), seed=3).train_dataloader()
    epochs = [torch.cat([y for _, y in loader]) for _ in range(2)]
    assert torch.equal(epochs[0], epochs[1])


def test_augmentation_is_for_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noting(self: Classifier, batch: Any, batch_idx: int) -> Tensor:
        before = self.augmentation
        self.augmentation = lambda x: seen.append(self.trainer.state.stage) or before(x)  # type: ignore[func-returns-value]
        try:
            return step(self, batch, batch_idx)
        finally:
            self.augmentation = before

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", noting)
    train(tmp_path, "augmentation=flip", "trainer.max_epochs=1")
    assert len(seen) == 41
    assert {str(stage.value) for stage in seen} == {"train"}


def test_the_scheduler_moves_the_learning_rate(tmp_path: Path) -> None:
    train(tmp_path, "scheduler=exponential", "scheduler.decay=0.5", "optimizer.lr=0.01", "trainer.max_epochs=3")
    header, *rows = (line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines())
    rates = [float(row[header.index("lr")]) for row in rows]
    assert rates[0] > rates[1] > rates[2]


def test_a_dropout_with_probability_zero_is_no_dropout() -> None:
    assert not has_dropout(
        nn.Sequential(nn.Dropout(0.0), regtorch.Dropout(drop_prob=0.0), regtorch.GaussianNoise(std=0.0))
    )
    assert not has_dropout(nn.Sequential(regtorch.create("dropout", "none")))
    assert has_dropout(nn.Sequential(regtorch.GaussianNoise(std=0.1)))


def test_early_stopping_without_validation_monitors_the_training_loss(tmp_path: Path) -> None:
    stopping = make_callbacks(compose(["callbacks=early_stopping"])["callbacks"], tmp_path, validated=False)[-1]
    assert stopping.monitor == "loss"


def test_non_finite_weights_leave_the_last_good_checkpoint(tmp_path: Path) -> None:
    ruin = ["data.batch_size=5000", "optimizer=sgd", "regularizer=l2", "trainer.max_epochs=1"]
    with pytest.raises(NonFiniteLossError, match="by step 1"):
        train(tmp_path, *ruin, "optimizer.lr=3e38", "regularizer.l2=10")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["status"] == "failed"
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))


def test_a_step_count_short_of_an_epoch_still_leaves_both_checkpoints(tmp_path: Path) -> None:
    results = train(tmp_path, "trainer.max_steps=3")
    assert results["status"] == "completed"
    for name in ("best", "last"):
        assert (tmp_path / f"checkpoints/{name}.ckpt").exists()
