"""Two processes have the same losses, penalties, weights, results and checkpoints as one."""

from __future__ import annotations

import csv
import json
import os
from functools import cache
from itertools import cycle, product
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import regtorch
from regtorch import available
from regtorch.config.compose import compose
from regtorch.data.batches import DistributedBatchSampler
from regtorch.registry import component
from regtorch.runs.data import dataset
from regtorch.testing.ranks import on_two_ranks
from regtorch.training import RegularizationCallback, data_module
from regtorch.training.build import make_module
from regtorch.training.data_module import DataModule
from regtorch.training.processes import World, launched
from regtorch.training.run import run
from regtorch.training.trainer import hardware
from tests.constraints.test_constraints import CASES as CONSTRAINT_CASES
from tests.regularizers.test_regularizers import CASES as REGULARIZER_CASES

Node = dict[str, Any]
Config = dict[str, Any]

NONE: Node = {"name": "none"}
REGULARIZERS: list[Node] = [{"name": case.name, **case.settings} for case in REGULARIZER_CASES]
CONSTRAINTS: list[Node] = [{"name": case.name, **case.settings} for case in CONSTRAINT_CASES]
OF_WEIGHTS = [node for node in REGULARIZERS if node["name"] != "activity"]
#: sums over rows; other regularizers use the complete matrix of activations, and so depend on the batch
OF_ROWS: list[Node] = [node for node in REGULARIZERS if node["name"] in ("l1", "l2", "l1_l2", "group_lasso", "several")]
MIXED: Node = {
    "name": "several",
    "rules": [{"name": "spectral", "strength": 0.1}, {"name": "activity", "regularizer": {"name": "l2", "l2": 0.1}}],
}
CNN = ["model=cnn", "model.channels=[3]", "model.head=[5]", "data.row_shape=[2,6,6]"]


def _rules() -> dict[str, Config]:
    """Return each regularizer on kernels, biases and, if possible, activities, and each constraint on kernels and biases."""
    cases: dict[str, Config] = {}
    others = zip(cycle(CONSTRAINTS), cycle(OF_WEIGHTS[::-1]), cycle(CONSTRAINTS[::-1]), cycle([*OF_ROWS, NONE]))
    for regularizer, (constraint, of_biases, constraint_of_biases, of_activities) in zip(
        [NONE, *REGULARIZERS], others, strict=False
    ):
        cases["+".join(node["name"] for node in (regularizer, constraint, of_biases, of_activities))] = {
            "regularizer": regularizer,
            "constraint": constraint,
            "bias_regularizer": of_biases,
            "bias_constraint": constraint_of_biases,
            "activity_regularizer": of_activities,
        }
    schedule = {"name": "cosine", "start": 0.2, "end": 1.5}
    cases["scheduled"] = {"regularizer": MIXED, "constraint": CONSTRAINTS[1], "penalty_schedule": schedule}
    cases["nested"] = {
        "regularizer": {"name": "several", "rules": [MIXED, {"name": "orthogonal", "strength": 0.1, "where": "head*"}]},
        "constraint": {"name": "several", "rules": [CONSTRAINTS[-1], {"name": "soft_threshold", "strength": 0.01}]},
    }
    return cases


RULES = _rules()
FEW = [next(iter(RULES)), "scheduled", "nested"]
STRATEGIES = ("ddp", "fsdp")
BATCH = 64


def _uneven_fits(name: str) -> dict[str, dict[str, Any]]:
    """Return fits with a rest of one row, which one process gets, and with windows of several batches."""
    rules = RULES[name]
    fits = {f"{name}, a process without rows": {"rules": rules, "rows": 3 * BATCH + 1, "epochs": 3}}
    for rest in (2 * BATCH + 33, 1):
        of_windows = {"rules": rules, "rows": 4 * BATCH + rest, "epochs": 2, "accumulate": 4}
        fits[f"{name}, windows of four, the last of {rest}"] = of_windows
    return fits


def _fits() -> dict[str, dict[str, Any]]:
    """Return the fits for one process and for two: rules, rows, epochs, batches per window, further settings."""
    fits: dict[str, dict[str, Any]] = {}
    for name in FEW:
        fits[f"{name}, 8 steps"] = {"rules": RULES[name], "rows": 3 * BATCH + 33, "epochs": 2}
    fits |= _uneven_fits("nested")
    further = {
        "convolutions": CNN,
        "clipped": ["trainer.gradient_clip_val=0.1"],
        "momentum": ["optimizer=momentum", "optimizer.lr=0.05"],
    }
    for name, overrides in further.items():
        fits[name] = {"rules": RULES["nested"], "rows": 3 * BATCH + 33, "epochs": 3, "further": overrides}
    return fits


def _long_fits() -> dict[str, dict[str, Any]]:
    """Return a long fit for each rule; ``tests/sharded`` covers each rule on two processes without training."""
    fits = {
        f"{name}, 50 steps": {"rules": rules, "rows": 3 * BATCH + 33, "epochs": 13} for name, rules in RULES.items()
    }
    return {**fits, **_uneven_fits(FEW[0]), **_uneven_fits("scheduled")}


@cache
def config_of(further: tuple[str, ...] = ()) -> Config:
    made_up = ["data=synthetic", "data.row_shape=[5]", "data.classes=3", "data.validation_fraction=0"]
    small = ["activation=tanh", "optimizer=sgd", "optimizer.lr=0.05"]
    hidden = [] if "model=cnn" in further else ["model.hidden=[7]"]
    return compose([*made_up, *small, *hidden, "trainer=cpu", "trainer.precision=64-true", *further])


FITS, LONG_FITS = _fits(), _long_fits()


class Steps:
    """Records the results of each batch when the module adds them to its metrics."""

    def __init__(self, module: Any, accumulate: int) -> None:
        self.module, self.add = module, module.training_metrics.add
        self.noted: list[tuple[int, int, float, float]] = []  # step, rows, data loss, penalty
        self.accumulate = accumulate
        module.training_metrics.add = self

    def __call__(self, batch: int, data_loss: Any, penalty: Any, logits: Any, labels: Any) -> None:
        self.add(batch, data_loss, penalty, logits, labels)
        epoch, within = divmod(batch - 1, int(self.module.trainer.num_training_batches))
        step = epoch * 1000 + within // self.accumulate
        self.noted.append((step, len(labels), data_loss.item(), penalty.item()))


def means(noted: list[tuple[int, int, float, float]]) -> dict[int, list[float]]:
    """Return the data loss and penalty of each step, as means over its rows in all batches and processes."""
    sums: dict[int, np.ndarray] = {}
    for step, rows, *values in noted:
        sums[step] = sums.get(step, np.zeros(3)) + rows * np.array([1.0, *values])
    return {step: (total[1:] / total[0]).tolist() for step, total in sorted(sums.items())}


def trained(
    config: Config, fit: dict[str, Any], strategy: str, world: World, batch_size: int, accumulate: int = 1
) -> Any:
    """Return the final weights, and the loss and penalty of each step, of a fit with the classes of a run."""
    rows = fit["rows"]
    data = {**config["data"], "rows": rows + 1, "test_fraction": 0.5 / (rows + 1), "batch_size": batch_size}
    trainer = {**config["trainer"], "strategy": strategy, "max_epochs": fit["epochs"]}
    trainer["accumulate_grad_batches"] = accumulate
    config = {**config, "data": data, **fit["rules"]}
    lightning.seed_everything(3, verbose=False)
    batches = DataModule(dataset(config), 0)
    assert len(batches.splits.train) == rows
    module = make_module(config, batches.splits.shape, 3)
    with torch.no_grad():
        for w in module.model.parameters():  # so large that constraints and clipping are active
            w.mul_(3).add_(0.01)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    steps = Steps(module, accumulate)
    fitting = lightning.Trainer(**hardware(trainer, world), limit_val_batches=0, **quiet)
    fitting.fit(module, datamodule=batches)
    noted, taken = [steps.noted], fitting.global_step
    if world.ranks > 1:
        noted = [[] for _ in range(world.ranks)]
        dist.all_gather_object(noted, steps.noted)
        if strategy == "fsdp":
            assert all(isinstance(w, DTensor) for w in module.model.parameters())
    weights = {name: w.detach() for name, w in module.model.named_parameters()}
    weights = {name: w.full_tensor() if isinstance(w, DTensor) else w for name, w in weights.items()}
    return {"weights": weights, "steps": means([n for of_one in noted for n in of_one]), "taken": taken}


# --- a user's module with the callback ---


class Theirs(lightning.LightningModule):
    """A user's module that shards itself, as Lightning requires."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()

    def configure_model(self) -> None:
        if self._device_mesh is not None:
            for part in (*self.net, self.net):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self.net(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def through_the_callback(strategy: str, world: World, accumulate: int) -> dict[str, torch.Tensor]:
    """Return the final weights of a user's module."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(48, 3).double(), torch.randn(48, 2).double())
    dealt: Any = DistributedSampler(data, world.ranks, world.rank, shuffle=False)
    module = Theirs()
    rules: list[Any] = [regtorch.L1L2(l1=0.01, l2=0.1), regtorch.Orthogonal(0.1), regtorch.Activity(regtorch.L2(0.05))]
    callback = RegularizationCallback(
        penalties=[regtorch.WeightPenalty(module.net, rule) for rule in rules],
        constraints=[regtorch.WeightConstraint(module, regtorch.MaxNorm(max_value=0.5), where="kernel:net.0*")],
    )
    trainer = {
        "accelerator": "cpu",
        "precision": "64-true",
        "strategy": strategy,
        "accumulate_grad_batches": accumulate,
    }
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    fitting = lightning.Trainer(**hardware(trainer, world), max_epochs=3, callbacks=[callback], **quiet)
    fitting.fit(module, DataLoader(data, batch_size=8 // world.ranks, sampler=dealt))
    weights = {name: w.detach() for name, w in module.named_parameters()}
    assert all(isinstance(w, DTensor) for w in weights.values()) == (strategy == "fsdp")
    return {name: w.full_tensor() if isinstance(w, DTensor) else w for name, w in weights.items()}


# --- complete runs ---

EVALUATION_BATCH = 16  # rows per process: the last batches cannot be divided evenly between two processes
#: dropout is off in training, because each process would draw its own masks; MC prediction uses it
COMPLETE_RUN = [
    *("data=synthetic", "data.rows=963", "data.row_shape=[5]", "data.classes=3", "data.noise=2"),
    *("model.hidden=[7]", "dropout=standard", "dropout.drop_prob=0.3", "schedule@dropout_schedule=cosine"),
    *("dropout_schedule.start=0", "dropout_schedule.end=0", "regularizer=l1_l2", "regularizer.l1=1e-3"),
    *("regularizer@activity_regularizer=l2", "activity_regularizer.l2=1e-3", "constraint=max_norm"),
    *("trainer.precision=64-true", "mc.samples=20", "logger.tensorboard=false", "evaluate=last"),
]
TWO_PROCESSES = {
    "ddp": ["trainer=ddp_cpu", "data.batch_size=32"],
    "fsdp": ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32"],
}


def complete_run(folder: Path, *overrides: str, ckpt_path: Path | None = None) -> None:
    folder.mkdir(exist_ok=True)
    config = compose([*COMPLETE_RUN, *overrides])
    data_module.EVALUATION_BATCH = EVALUATION_BATCH
    splits = dataset(config).load()
    assert (len(splits.val), len(splits.test)) == (77, 193)  # two processes: 2 * 32 + 13, and 6 * 32 + 1 rows
    run(config, dataset(config), folder, ckpt_path=ckpt_path)


def assert_rows(layer: Any, inputs: Any) -> None:
    """Check that no batch is empty, because ``x.view(len(x), -1)`` in a model would fail."""
    assert all(len(x) for x in inputs if isinstance(x, torch.Tensor) and x.ndim > 1), layer


def assert_seeded_differently() -> None:
    seeds: list[Any] = [None, None]
    dist.all_gather_object(seeds, torch.initial_seed())
    assert seeds[0] != seeds[1]


def join(rank: int) -> World:
    """Let this process be one of two that torchrun started."""
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {**own, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "as torchrun does"}
    world = launched()
    assert world == World(rank, 2, 2)
    torch.set_num_threads(1)
    nn.modules.module.register_module_forward_pre_hook(assert_rows)
    return world


def all_trained(fits: dict[str, dict[str, Any]], world: World) -> dict[Any, Any]:
    results = {}
    for name, fit in fits.items():
        for strategy in STRATEGIES:
            config = config_of(tuple(fit.get("further", ())))
            results[strategy, name] = trained(config, fit, strategy, world, BATCH // 2, fit.get("accumulate", 1))
    return results


def long_fits_on_two_processes(rank: int, folder: Path) -> None:
    results = all_trained(LONG_FITS, join(rank))
    if rank == 0:
        torch.save(results, folder / "fits.pt")


def on_two_processes(rank: int, folder: Path) -> None:
    """Train all fits and runs at once, because starting processes takes long."""
    world = join(rank)
    results = all_trained(FITS, world)
    for strategy, accumulate in product(STRATEGIES, (1, 2)):
        results[strategy, accumulate] = through_the_callback(strategy, world, accumulate)
    if rank == 0:
        torch.save(results, folder / "fits.pt")
    complete_run(folder / "ddp", *TWO_PROCESSES["ddp"], "trainer.max_epochs=4")
    complete_run(folder / "fsdp", *TWO_PROCESSES["fsdp"], "trainer.max_epochs=4")
    complete_run(folder / "fsdp_half", *TWO_PROCESSES["fsdp"], "trainer.max_epochs=2")
    dist.barrier()
    for strategy, half in (("fsdp", "fsdp"), ("fsdp", "one"), ("ddp", "one"), ("ddp", "fsdp")):
        folder_of_half = folder / f"{half}_half" / "checkpoints/last.ckpt"
        overrides = [*TWO_PROCESSES[strategy], "trainer.max_epochs=4"]
        complete_run(folder / f"{strategy}_from_{half}", *overrides, ckpt_path=folder_of_half)
        assert_seeded_differently()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of one process and of two."""
    folder = tmp_path_factory.mktemp("parallel")
    before = data_module.EVALUATION_BATCH
    alone = ["trainer=cpu", "data.batch_size=64"]
    complete_run(folder / "one", *alone, "trainer.max_epochs=4")
    complete_run(folder / "one_half", *alone, "trainer.max_epochs=2")
    on_two_ranks(on_two_processes, folder)
    for half in ("one", "fsdp"):
        ckpt_path = folder / f"{half}_half" / "checkpoints/last.ckpt"
        complete_run(folder / f"one_from_{half}", *alone, "trainer.max_epochs=4", ckpt_path=ckpt_path)
    data_module.EVALUATION_BATCH = before
    return folder


@pytest.fixture(scope="module")
def fits(folder: Path) -> Any:
    return torch.load(folder / "fits.pt")


def check_same(two: Any, one: Any, tolerance: float = 1e-9) -> None:
    assert two["taken"] == one["taken"]
    assert two["steps"].keys() == one["steps"].keys()
    for step, values in one["steps"].items():
        assert two["steps"][step] == pytest.approx(values, rel=0, abs=tolerance), f"step {step}"
    for name, w in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], w, rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def long_fits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("long")
    on_two_ranks(long_fits_on_two_processes, folder)
    return torch.load(folder / "fits.pt")


def check_steps(name: str, fit: dict[str, Any], of_two: Any) -> None:
    batch_size = BATCH * fit.get("accumulate", 1)
    one = trained(config_of(tuple(fit.get("further", ()))), fit, "auto", World(), batch_size)
    assert one["taken"] == -(-fit["rows"] // batch_size) * fit["epochs"]
    assert "50 steps" not in name or one["taken"] >= 50
    for strategy in STRATEGIES:
        check_same(of_two[strategy, name], one)


@pytest.mark.parametrize("name", FITS)
def test_two_processes_take_the_same_steps_as_one(name: str, fits: Any) -> None:
    check_steps(name, FITS[name], fits)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_FITS)
def test_two_processes_take_the_same_steps_as_one_with_each_rule(name: str, long_fits: Any) -> None:
    check_steps(name, LONG_FITS[name], long_fits)


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in RULES]
)
def test_four_batches_are_one_four_times_as_large(name: str) -> None:
    """The last window and its last batch are shorter."""
    fit = {"rules": RULES[name], "rows": 8 * BATCH + 2 * BATCH + 33, "epochs": 4}
    config = config_of()
    one = trained(config, fit, "auto", World(), 4 * BATCH)
    four = trained(config, fit, "auto", World(), BATCH, accumulate=4)
    check_same(four, one)


def test_every_rule_is_tested() -> None:
    for kind, nodes in (("regularizer", [NONE, *REGULARIZERS]), ("constraint", CONSTRAINTS)):
        own = {name for name in available(kind) if component(kind, name).module.startswith("regtorch.")}
        assert {node["name"] for node in nodes} == own
        for place in (kind, f"bias_{kind}"):
            assert {case[place]["name"] for case in RULES.values() if place in case} >= own - {"none", "activity"}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_callback_takes_the_same_steps_as_one_process(strategy: str, accumulate: int, fits: Any) -> None:
    alone = through_the_callback("auto", World(), accumulate)
    for name, w in fits[strategy, accumulate].items():
        torch.testing.assert_close(w, alone[name], rtol=0, atol=1e-9)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_on_two_processes_has_the_results_of_one(strategy: str, folder: Path) -> None:
    two, one = read(folder / strategy), read(folder / "one")
    assert list(one["test_mc"]) == ["accuracy", "loss", "nll", "brier", "ece", "samples"]
    for part in ("train", "train_eval", "val", "test", "test_mc"):
        assert two[part] == pytest.approx(one[part], rel=0, abs=1e-6), part
    for part in ("status", "epochs", "parameters", "sparsity"):
        assert two[part] == one[part]
    right = one["test"]["accuracy"] * 193
    assert right == pytest.approx(round(right), abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_on_two_processes_has_the_metrics_of_one(strategy: str, folder: Path) -> None:
    two, one = (list(csv.DictReader((folder / name / "metrics.csv").open())) for name in (strategy, "one"))
    assert len(two) == len(one) == 4
    for row, expected in zip(two, one, strict=True):
        assert list(row) == list(expected)
        values = {key: float(value) for key, value in expected.items() if value}
        assert {key: float(value) for key, value in row.items() if value} == pytest.approx(values, rel=0, abs=1e-6)


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_checkpoints_are_single_files_that_load_on_one_process(strategy: str, folder: Path) -> None:
    content, expected = last_checkpoint(folder / strategy), last_checkpoint(folder / "one")
    assert all(type(w) is torch.Tensor for w in content["state_dict"].values())
    module = make_module(compose(COMPLETE_RUN), (5,), 3)
    module.load_state_dict(content["state_dict"])
    for name, w in expected["state_dict"].items():
        torch.testing.assert_close(content["state_dict"][name], w, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    "name", ["one_from_one", "one_from_fsdp", "fsdp_from_fsdp", "fsdp_from_one", "ddp_from_one", "ddp_from_fsdp"]
)
def test_any_number_of_processes_resumes_from_the_end_of_an_epoch(name: str, folder: Path) -> None:
    rest, complete = last_checkpoint(folder / name), last_checkpoint(folder / "one")
    assert rest["global_step"] == complete["global_step"]
    tolerance = 0 if name == "one_from_one" else 1e-9
    for key, w in complete["state_dict"].items():
        torch.testing.assert_close(rest["state_dict"][key], w, rtol=0, atol=tolerance, msg=key)
    one, two = (of_run["optimizer_states"][0]["state"] for of_run in (complete, rest))
    assert one.keys() == two.keys()
    for number, state in one.items():
        assert state.keys() == two[number].keys()
        for key, value in state.items():
            torch.testing.assert_close(two[number][key], value, rtol=0, atol=1e-9, msg=f"{number} {key}")


# --- distribution of rows ---


@given(
    rows=st.integers(1, 60),
    batch_size=st.integers(1, 12),
    ranks=st.integers(1, 5),
    drop_last=st.booleans(),
    seed=st.integers(0, 9),
)
def test_each_row_is_used_once_and_all_processes_take_the_same_number_of_steps(
    rows: int, batch_size: int, ranks: int, drop_last: bool, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(rows).tolist()
    dealt = [DistributedBatchSampler(order, batch_size, drop_last, rank, ranks) for rank in range(ranks)]
    batches = [list(of_rank) for of_rank in dealt]
    assert {len(of_rank) for of_rank in batches} == {len(of_rank) for of_rank in dealt} == {len(dealt[0])}
    counted: list[int] = []
    for index in range(len(dealt[0])):
        shares = [of_rank.share(index) for of_rank in dealt]
        own = [count for count, _ in shares]
        assert {together for _, together in shares} == {sum(own)}
        assert max(own) - min(own) <= 1
        for of_rank, count in zip(batches, own, strict=True):
            batch = of_rank[index].tolist()
            assert len(batch) == max(count, 1)  # none is empty
            assert len(batch) <= batch_size
            counted += batch[:count]
    complete = batch_size * ranks
    assert counted == order[: rows // complete * complete if drop_last else rows]
    alone = DistributedBatchSampler(order, complete, drop_last)
    together = [
        np.concatenate([b[i][: d.share(i)[0]] for b, d in zip(batches, dealt, strict=True)]) for i in range(len(alone))
    ]
    assert [batch.tolist() for batch in together] == [batch.tolist() for batch in alone]  # the steps of one process


@given(rows=st.integers(1, 60), batch_size=st.integers(1, 12), ranks=st.integers(1, 3), data=st.data())
def test_a_resumed_epoch_skips_completed_batches(rows: int, batch_size: int, ranks: int, data: Any) -> None:
    for rank in range(ranks):
        dealt = DistributedBatchSampler(range(rows), batch_size, False, rank, ranks)
        complete = [batch.tolist() for batch in dealt]
        dealt.skip = data.draw(st.integers(0, len(dealt)))
        first = dealt.skip
        assert [batch.tolist() for batch in dealt] == complete[first:]
        assert [batch.tolist() for batch in dealt] == complete  # the next epoch is complete again
