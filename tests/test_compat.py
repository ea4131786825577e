"""Private interfaces of other libraries: each still does what we use it for."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import LazyLoader, module_from_spec, spec_from_file_location
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import optuna
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from regtorch.compat import torch_internals as torchs
from regtorch.compat.hydra_internals import flags_parser, launcher_callbacks
from regtorch.compat.lightning_internals import accumulates, names_logged_before_batch_end, skips_backward
from regtorch.compat.multiprocessing_internals import call_if_sending_fails
from regtorch.compat.optuna_internals import continued_trial
from regtorch.compat.python_imports import is_being_imported, modules_being_imported


def test_modules_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    look = "from regtorch.compat.python_imports import modules_being_imported as look; found = look()"
    (tmp_path / "inner_of_two.py").write_text(look)
    (tmp_path / "outer_of_two.py").write_text(
        "import threading, inner_of_two\n"
        "elsewhere = []\n"
        f"def other():\n    {look}; elsewhere.extend(found)\n"
        "thread = threading.Thread(target=other); thread.start(); thread.join()\n"
        f"{look}\n"
    )
    before = modules_being_imported()
    outer = import_module("outer_of_two")
    assert sys.modules["inner_of_two"].found == ["inner_of_two", "outer_of_two", *before]
    assert outer.found == ["outer_of_two", *before]
    assert outer.elsewhere == []
    assert not is_being_imported(outer)
    assert threading.active_count() >= 1


def test_looking_imports_no_lazy_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loads_lazily.py"
    path.write_text("import sys; sys.modules['loads_lazily_was_run'] = None")
    spec = spec_from_file_location("loads_lazily", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "loads_lazily", module)
    spec.loader.exec_module(module)
    modules_being_imported()
    assert "loads_lazily_was_run" not in sys.modules


def test_transforms() -> None:
    seen: list[tuple[bool, bool]] = []

    def look(x: Tensor) -> Tensor:
        seen.append((torchs.transforms_are_active(), torchs.is_wrapped_by_transform(x)))
        return x.sum()

    look(torch.ones(2))
    torch.func.vmap(look)(torch.ones(3, 2))
    torch.func.grad(look)(torch.ones(2))
    assert seen == [(False, False), (True, True), (True, True)]


def test_forward_mode() -> None:
    assert not torchs.forward_mode_is_active()
    with forward_ad.dual_level():
        assert torchs.forward_mode_is_active()
    assert not torchs.forward_mode_is_active()


def test_jit_tracing() -> None:
    class Looks(nn.Module):
        seen: Any = None

        def forward(self, x: Tensor) -> Tensor:
            self.seen = torchs.is_jit_tracing()
            return x + 1

    module = Looks()
    module(torch.ones(1))
    assert module.seen is False
    torch.jit.trace(module, torch.ones(1), check_trace=False)
    assert module.seen is True


@pytest.mark.parametrize("keeps", [False, True])
def test_backward(keeps: bool) -> None:
    seen: list[tuple[bool, bool]] = []
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda grad: seen.append((torchs.is_in_backward(), torchs.backward_keeps_graph())))
    assert not torchs.is_in_backward()
    (x * x).sum().backward(retain_graph=keeps)
    assert seen == [(True, keeps)]


def test_modes() -> None:
    seen: list[str] = []

    class Mode(torchs.QuickDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Mode():
        torch.ones(1).neg()
        before = list(seen)
        with torchs.without_any_mode():
            torch.ones(1).neg()
        with torchs.without_dispatch_modes():
            torch.ones(1).neg()
        assert seen == before
        torch.ones(1).abs()
    assert before[-1].startswith("neg")
    assert seen[-1].startswith("abs")


def test_recurrent_weights() -> None:
    layer = nn.LSTM(3, 4)
    names = torchs.recurrent_weight_names(layer)
    assert names == [name for name, _ in layer.named_parameters()]
    x = torch.randn(5, 2, 3)
    before = layer(x)[0]
    with torchs.recurrent_weights(layer, [torch.zeros_like(w) for w in layer.parameters()]):
        assert not layer(x)[0].any()
    assert torch.equal(layer(x)[0], before)


def test_fully_sharded_parameters(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = nn.Linear(4, 3)
        assert not torchs.is_fully_sharded(model)
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert torchs.is_fully_sharded(model)
        found = {attribute: (owner, shard) for owner, attribute, shard in torchs.fully_sharded_parameters(model)}
        assert found.keys() == {"weight", "bias"}
        assert all(owner is model for owner, _ in found.values())
        assert found["weight"][1] is model.weight
    finally:
        torch.distributed.destroy_process_group()


def test_compiler_specializations_are_cleared() -> None:
    from torch._dynamo import symbolic_convert

    symbolic_convert.TensorifyState.force_specializations.add("L['x']")
    torchs.clear_compiler_specializations()
    assert not symbolic_convert.TensorifyState.force_specializations


class Logs(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[tuple[bool, bool]] = []
        self.names: list[set[str]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append((accumulates(self.trainer), skips_backward(self.trainer)))
        loss = self.layer(batch[0]).square().mean()
        self.log("in_step", loss)
        return loss

    def on_train_batch_end(self, *given: Any) -> None:
        self.log("at_end", 1.0)
        self.names.append(names_logged_before_batch_end(self.trainer))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning(tmp_path: Path) -> None:
    module = Logs()
    quiet: dict[str, Any] = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, accumulate_grad_batches=2, default_root_dir=tmp_path, **quiet
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(4, 1))))
    assert module.seen == [(True, False), (False, False), (True, False), (False, False)]
    assert module.names == [{"in_step"}] * 4


def test_hydra() -> None:
    parsed = flags_parser().parse_args(["-m", "seed=1,2", "--config-dir", "mine"])
    assert (parsed.multirun, parsed.overrides, parsed.config_dir) == (True, ["seed=1,2"], "mine")
    callbacks = launcher_callbacks(None)
    assert callbacks.callbacks == []
    callbacks.callbacks.append(called := Callback())
    callbacks.on_job_start(config={}, task_function=None)
    assert called.started


class Callback:
    started = False

    def on_job_start(self, **given: Any) -> None:
        self.started = True


def test_optuna() -> None:
    study = optuna.create_study()
    asked = study.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    again = continued_trial(study, asked)
    assert again.params == asked.params
    again.report(1.0, 0)
    assert study.trials[0].intermediate_values == {0: 1.0}


def test_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "_on_queue_feeder_error", Queue._on_queue_feeder_error)  # restored afterwards
    import multiprocessing

    failed = threading.Event()
    call_if_sending_fails(lambda error, item: failed.set())
    queue: Any = multiprocessing.get_context("spawn").Queue()
    queue.put(lambda: None)  # cannot be pickled
    assert failed.wait(20)
    queue.close()
    queue.join_thread()
