"""The callback with an unchanged module, compared with a hand-written loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import regtorch
from regtorch.errors import SettingError
from regtorch.training import RegularizationCallback, RegularizedModule

ROWS, BATCH, EPOCHS = 22, 4, 2  # six batches, the last one shorter


def rows(dtype: torch.dtype) -> TensorDataset:
    torch.manual_seed(0)
    return TensorDataset(torch.randn(ROWS, 3, dtype=dtype), torch.randn(ROWS, 2, dtype=dtype))


class Endless(IterableDataset[Any]):
    """The same rows as a data set without a length."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return iter([self.data[i] for i in range(ROWS)])


class Theirs(lightning.LightningModule):
    """A user's module whose training_step returns a mapping."""

    def __init__(self, dtype: torch.dtype = torch.float64, spike_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)
        self.spike_at = spike_at
        self.seen = 0

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        self.seen += 1
        return (self.net(x) - y).square().mean() * (float("inf") if self.seen == self.spike_at else 1.0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(*batch), "seen": len(batch[0])}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def rules(module: Theirs, activity: bool = False) -> dict[str, Any]:
    penalties = [regtorch.WeightPenalty(module, regtorch.L1L2(l1=0.01, l2=0.1))]
    if activity:
        penalties.append(regtorch.WeightPenalty(module.net, regtorch.Activity(regtorch.L2(0.05)), where="0"))
    return {
        "penalties": penalties,
        "constraints": [regtorch.WeightConstraint(module, regtorch.MaxNorm(max_value=0.5), where="kernel:net.0*")],
    }


def fit(module: Theirs, callback: Any, dtype: torch.dtype, sized: bool = True, **settings: Any) -> lightning.Trainer:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    data: Any = rows(dtype) if sized else Endless(rows(dtype))
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=1, callbacks=[callback], **quiet, **settings
    )
    trainer.fit(module, DataLoader(data, batch_size=BATCH))
    return trainer


def by_hand(
    module: Theirs,
    dtype: torch.dtype,
    every: int = 1,
    cast: torch.dtype | None = None,
    scaled: bool = False,
    **which: Any,
) -> Theirs:
    """Train with Lightning's division by `every`, also in a shorter last window, and the penalty of weights once per step."""
    penalties, constraints = rules(module, **which).values()
    optimizer = module.configure_optimizers()
    constraints[0].attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    for _ in range(EPOCHS):
        batches = list(DataLoader(rows(dtype), batch_size=BATCH))
        for start in range(0, len(batches), every):
            optimizer.zero_grad()
            for x, y in batches[start : start + every]:
                with torch.autocast("cpu", dtype=cast or torch.bfloat16, enabled=cast is not None):
                    loss = module.loss(x, y)
                activities = sum(penalty() for penalty in penalties[1:])
                scaler.scale((loss + activities) / every).backward()
            scaler.scale(penalties[0]()).backward()
            scaler.step(optimizer)
            scaler.update()
    return module


def assert_same(one: nn.Module, other: nn.Module, tolerance: float = 1e-10) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize("activity", [False, True])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("every", [1, 2, 4, 100])
def test_it_equals_the_hand_written_loop_also_under_accumulation(every: int, sized: bool, activity: bool) -> None:
    module = Theirs()
    callback = RegularizationCallback(**rules(module, activity))
    fit(module, callback, torch.float64, sized, accumulate_grad_batches=every)
    assert_same(module, by_hand(Theirs(), torch.float64, every, activity=activity))
    assert "training_step" not in vars(module)  # restored


def test_the_penalty_is_clipped_and_logged() -> None:
    module, clipped = Theirs(), Theirs()
    trainer = fit(module, RegularizationCallback(**rules(module)), torch.float64)
    assert trainer.logged_metrics["penalty"] > 0
    fit(clipped, RegularizationCallback(**rules(clipped)), torch.float64, gradient_clip_val=1e-9)
    fresh = Theirs()
    regtorch.WeightConstraint(fresh, regtorch.MaxNorm(max_value=0.5), where="kernel:net.0*").project()
    assert_same(clipped, fresh, 1e-6)  # a penalty added after the clipping would change the weights


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
def test_mixed_precision_with_a_step_that_overflows(cast: torch.dtype, every: int) -> None:
    half = cast is torch.float16
    spike = 2 if half else None  # the scaler skips this step: no penalty, no constraint
    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu")) if half else None
    settings: dict[str, Any] = {"plugins": [plugin]} if plugin else {"precision": "bf16-mixed"}
    module = Theirs(torch.float32, spike)
    fit(module, RegularizationCallback(**rules(module)), torch.float32, accumulate_grad_batches=every, **settings)
    assert_same(module, by_hand(Theirs(torch.float32, spike), torch.float32, every, cast, scaled=half), 1e-5)


def test_lbfgs_sees_the_penalty_in_every_evaluation() -> None:
    class ByLBFGS(Theirs):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=3, line_search_fn="strong_wolfe")

    module, hand = ByLBFGS(), ByLBFGS()
    fit(module, RegularizationCallback(**rules(module)), torch.float64)
    (penalty,), (constraint,) = rules(hand).values()
    optimizer = hand.configure_optimizers()
    constraint.attach(optimizer)
    for _ in range(EPOCHS):
        for x, y in DataLoader(rows(torch.float64), batch_size=BATCH):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = hand.loss(x, y) + penalty()
                loss.backward()
                return loss

            optimizer.step(closure)
    assert_same(module, hand, 1e-8)


def test_batches_that_the_module_skips_change_nothing() -> None:
    class LeavesOut(Theirs):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    module = LeavesOut()
    fit(module, RegularizationCallback(**rules(module)), torch.float64)
    assert_same(module, Theirs())


def test_the_module_is_restored_after_an_error() -> None:
    class Fails(Theirs):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("theirs")

    module = Fails()
    callback = RegularizationCallback(**rules(module))
    with pytest.raises(ValueError, match="theirs"):
        fit(module, callback, torch.float64)
    assert "training_step" not in vars(module)
    assert callback.handle is None


class Manual(Theirs):
    """Manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(*batch))
        optimizer.step()


def test_under_manual_optimization_constraints_work_and_penalties_are_refused() -> None:
    module = Manual()
    fit(module, RegularizationCallback(constraints=rules(module)["constraints"]), torch.float64)
    assert module.net[0].weight.norm(dim=1).max() <= 0.5 + 1e-12
    with pytest.raises(SettingError, match="manual optimization"):
        fit(module, RegularizationCallback(**rules(module)), torch.float64)


def test_invalid_uses_are_refused() -> None:
    with pytest.raises(SettingError, match="bind it to the model first, WeightPenalty"):
        RegularizationCallback(penalties=[regtorch.L2(0.1)])  # type: ignore[list-item]
    with pytest.raises(SettingError, match="it is one of the penalties="):
        RegularizationCallback(constraints=rules(Theirs())["penalties"])
    module = Theirs()
    one = RegularizationCallback(**rules(module))
    with pytest.raises(SettingError, match="give all rules to one"):
        lightning.Trainer(
            max_epochs=1, logger=False, callbacks=[one, RegularizationCallback()], enable_checkpointing=False
        ).fit(module, DataLoader(rows(torch.float64)))
    ours = RegularizedModule(nn.Linear(3, 2).double())
    ours.data_loss = lambda batch, batch_idx: ours(batch[0]).mean()  # type: ignore[method-assign]
    ours.configure_optimizers = lambda: torch.optim.SGD(ours.parameters(), lr=0.1)  # type: ignore[method-assign]
    penalty = regtorch.WeightPenalty(ours, regtorch.L2(0.1))
    with pytest.raises(SettingError, match=r"rules are given as a list, \[WeightPenalty"):
        RegularizationCallback(penalties=penalty)  # type: ignore[arg-type]
    for kind in ("penalties", "constraints"):
        of_another = RegularizationCallback(**{kind: rules(Theirs())[kind]})
        with pytest.raises(SettingError, match="is not bound to a part of Theirs"):
            fit(Theirs(), of_another, torch.float64)
    stray = RegularizedModule(
        nn.Linear(3, 2).double(), penalties=[regtorch.WeightPenalty(nn.Linear(3, 2), regtorch.L2(0.1))]
    )
    stray.data_loss, stray.configure_optimizers = ours.data_loss, ours.configure_optimizers  # type: ignore[method-assign]
    with pytest.raises(SettingError, match="is not bound to a part of RegularizedModule"):
        lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(
            stray, DataLoader(rows(torch.float64))
        )
    module = Theirs()  # a submodule without parameters is a part too
    activation = regtorch.WeightPenalty(module.net, regtorch.Activity(regtorch.L1(0.1)), where="1")
    fit(module, RegularizationCallback([activation]), torch.float64)
    module = Theirs()  # its own forward, which would reset the sum, is never called
    activation = regtorch.WeightPenalty(nn.Sequential(module.net[1]), regtorch.Activity(regtorch.L1(0.1)), where="*")
    with pytest.raises(SettingError, match="is not bound to a part of Theirs"):
        fit(module, RegularizationCallback([activation]), torch.float64)
    foreign = nn.Sequential(module.net[0], nn.Linear(5, 5).double())  # shares a layer, and has another one
    with pytest.raises(SettingError, match="is not bound to a part of Theirs"):
        fit(module, RegularizationCallback([regtorch.WeightPenalty(foreign, regtorch.L2(0.1))]), torch.float64)
    with pytest.raises(SettingError, match="takes penalties itself"):
        fit(ours, RegularizationCallback([penalty]), torch.float64)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy])
def test_a_strategy_that_flattens_weights_is_refused(strategy: type) -> None:
    trainer: Any = SimpleNamespace(strategy=strategy.__new__(strategy), callbacks=[], optimizers=[])  # they need GPUs
    theirs = Theirs()
    ours = RegularizedModule(theirs.net, penalties=rules(theirs)["penalties"])
    ours.trainer = trainer
    for callback, module in [(RegularizationCallback(**rules(theirs)), theirs), (trainer.callbacks[0], ours)]:
        with pytest.raises(SettingError, match=f"strategy={strategy.__name__} is not allowed with penalties"):
            callback.on_train_start(trainer, module)
