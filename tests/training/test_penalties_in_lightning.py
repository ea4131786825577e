"""Activity penalties, logging and reloading, in user modules and in RegularizedModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import regtorch
from regtorch.training import RegularizationCallback, RegularizedModule

STRENGTH = 0.1


def rows(count: int = 12) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(count, 4, generator=generator)), batch_size=4)


def network() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"encoder": nn.Linear(4, 3), "decoder": nn.Linear(3, 4)})


def activity(model: nn.Module) -> regtorch.WeightPenalty:
    return regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L1(STRENGTH)), where="*encoder")


def loss_of_parts(model: nn.ModuleDict, x: Tensor) -> tuple[Tensor, float]:
    """Compute the data loss by calling parts of the model, not the model itself, and the activity penalty."""
    hidden = nn.functional.linear(x, model["encoder"].weight, model["encoder"].bias)
    return (model["decoder"](model["encoder"](x)) - x).square().mean(), STRENGTH * hidden.abs().sum().item() / len(x)


class Theirs(lightning.LightningModule):
    def __init__(self, skips: bool = False) -> None:
        super().__init__()
        self.net = network()
        self.expected: list[float] = []
        self.skips = skips

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss, expected = loss_of_parts(self.net, batch[0])
        if self.skips and batch_idx == 0:
            return None
        self.expected.append(expected)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss_of_parts(self.net, batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Ours(RegularizedModule):
    def __init__(self, model: nn.Module | None = None, penalties: Any = (), **more: Any) -> None:
        super().__init__(model, penalties, **more)
        self.expected: list[float] = []

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        loss, expected = loss_of_parts(self.model, batch[0])
        self.expected.append(expected)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss_of_parts(self.model, batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: Any, *callbacks: Any, batches: Any = None, **settings: Any) -> lightning.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", callbacks=list(callbacks), **{"max_epochs": 2} | quiet | settings)
    trainer.fit(module, rows() if batches is None else batches, rows())
    return trainer


LOOPS = [{}, {"num_sanity_val_steps": 0}, {"val_check_interval": 1}, {"accumulate_grad_batches": 2}, {"max_steps": 1}]


@pytest.mark.parametrize("loop", LOOPS, ids=str)
@pytest.mark.parametrize("ours", [False, True])
def test_the_penalty_of_each_step_is_that_of_its_outputs(ours: bool, loop: dict[str, Any]) -> None:
    model = network()
    module = Ours(model, [activity(model)]) if ours else Theirs()
    callbacks = [] if ours else [RegularizationCallback(penalties=[activity(module)])]
    trainer = fit(module, *callbacks, **loop)
    assert trainer.callback_metrics["penalty"].item() == pytest.approx(module.expected[-1], rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*training_step.* returned .*None")
def test_a_skipped_batch_does_not_affect_another_step() -> None:
    module = Theirs(skips=True)
    trainer = fit(module, RegularizationCallback(penalties=[activity(module)]), max_steps=2, num_sanity_val_steps=0)
    assert trainer.callback_metrics["penalty"].item() == pytest.approx(module.expected[-1], rel=1e-5)


def test_loss_and_penalty_are_logged() -> None:
    model = network()
    penalty = regtorch.WeightPenalty(model, regtorch.L2(0.1))
    before = penalty().item()
    loss = loss_of_parts(model, next(iter(rows(4)))[0])[0].item()
    trainer = fit(Ours(model, [penalty]), batches=rows(4), max_epochs=1)
    assert trainer.callback_metrics["penalty"].item() == pytest.approx(before, rel=1e-5)
    assert trainer.callback_metrics["loss"].item() == pytest.approx(loss + before, rel=1e-5)
    model = network()
    assert "penalty" not in fit(Ours(model, [activity(model)], log_loss=False)).callback_metrics


def test_the_module_s_own_logging_takes_precedence() -> None:
    class Logging(Ours):
        def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("loss", 7.0)
            self.log("penalty", 8.0, on_epoch=True)
            return super().data_loss(batch, batch_idx)

    model = network()
    metrics = fit(Logging(model, [activity(model)])).callback_metrics
    assert (metrics["loss"].item(), metrics["penalty"].item()) == (7.0, 8.0)


def test_manual_optimization_logs_the_penalty() -> None:
    class Manual(Ours):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            optimizer = self.optimizers()
            for _ in range(2):  # two steps in one batch
                optimizer.zero_grad()
                loss = self.data_loss(batch, batch_idx)
                self.manual_backward(loss + self.penalty())
                optimizer.step()

    model = network()
    module = Manual(model, [activity(model)])
    trainer = fit(module)
    assert trainer.callback_metrics["penalty"].item() == pytest.approx(module.expected[-1], rel=1e-5)


class Needing(Ours):
    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__(model)
        self.size = size


def test_reloading(tmp_path: Path) -> None:
    model = network()
    path = tmp_path / "last.ckpt"
    fit(Ours(model, [activity(model)])).save_checkpoint(path)
    for cls in (Ours, Needing):
        with pytest.raises(
            regtorch.SettingError, match=rf"^{cls.__name__}\.load_from_checkpoint needs .*give model=, and"
        ):
            cls.load_from_checkpoint(path)
    again = Ours.load_from_checkpoint(
        path, model=nn.ModuleDict({"encoder": nn.Linear(4, 3), "decoder": nn.Linear(3, 4)})
    )
    assert all(torch.equal(w, model.state_dict()[name]) for name, w in again.model.state_dict().items())
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        again.load_from_checkpoint(path)
