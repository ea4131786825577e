"""A resumed training has bit-identical weights, table and results."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from regtorch.config.compose import compose
from regtorch.errors import DataError
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training import checkpoints
from regtorch.training.build import read_checkpoint
from regtorch.training.checkpoints import LastCheckpoint
from regtorch.training.run import run

#: 135 training rows: 9 batches per epoch, the last one of 7 rows
SMALL = [
    "data=arrays", "data.batch_size=16", "model.hidden=[12]", "optimizer.lr=0.01", "trainer.max_epochs=3", "trainer=cpu",
    "checkpoint.every_n_steps=2", "mc.samples=3", "logger.tensorboard=false",
]  # fmt: skip

VARIANTS = {
    "dropout, penalty, norms, warm-up": [
        "dropout=standard", "regularizer=l1_l2", "constraint=max_norm", "constraint.max_value=0.8", "scheduler=warmup_cosine",
    ],
    "accumulation with a short last window": [
        "trainer.accumulate_grad_batches=4", "checkpoint.every_n_steps=1", "dropout=standard", "regularizer=l2",
    ],
    "a plateau that reduces": [
        "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.3", "scheduler.decay=0.5", "trainer.max_epochs=5",
    ],
    "workers": ["data.workers=1", "dropout=alpha"],
    "a scaled loss": ["trainer.precision=16-mixed", "dropout=standard"],
    "bfloat16": ["trainer.precision=bf16-true", "constraint=max_norm", "dropout=standard"],
    "schedules of penalty and dropout": [
        "regularizer=l1_l2", "dropout=standard", "schedule@penalty_schedule=linear_warmup",
        "penalty_schedule.warmup_fraction=0.9", "schedule@dropout_schedule=cosine",
    ],
    "early stopping": [
        "callbacks=early_stopping", "callbacks.patience=1", "callbacks.min_delta=10", "trainer.max_epochs=9",
    ],
    "augmentation": ["augmentation=standard", "augmentation.padding=1", "dropout=exact_count"],
    "batch normalisation, momentum": ["model.batch_norm=before", "optimizer=nesterov", "dropout=standard"],
    "an end in mid-epoch": ["trainer.max_steps=14", "dropout=gaussian_noise", "scheduler=cosine"],
    "averaged weights": ["callbacks=ema", "callbacks.ema_decay=0.9", "dropout=standard"],
    "no validation": ["data.validation_fraction=0", "dropout=standard", "data.reshuffle=false", "evaluate=last"],
}  # fmt: skip


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


#: checks that a variant has an effect
SHOWN: Mapping[str, Callable[[Path], bool]] = {
    "a plateau that reduces": lambda folder: len({row["lr"] for row in table(folder)}) > 1,
    "a scaled loss": lambda folder: content(folder, "last")["MixedPrecision"]["_growth_tracker"] > 0,
    "bfloat16": lambda folder: content(folder, "last")["state_dict"]["model.head.weight"].dtype == torch.bfloat16,
    "schedules of penalty and dropout": lambda folder: all(
        len({row[name] for row in table(folder)}) == 3 for name in ("penalty_factor", "dropout_factor")
    ),
    "early stopping": lambda folder: len(table(folder)) == 2,
    "an end in mid-epoch": lambda folder: content(folder, "last")["global_step"] == 14,
}


@dataclass(frozen=True)
class Stop:
    """A moment of a training: after a checkpoint was written.

    Args:
        folder: a copy of the run's folder at that moment.
        epochs: completed epochs.
        batches: completed batches of the next epoch.
    """

    folder: Path
    epochs: int
    batches: int


@dataclass(frozen=True)
class Training:
    """A training that ran without interruption.

    Args:
        overrides: its configuration.
        folder: the run's folder, which was moved away from `place`.
        place: the folder where it ran.
        stops: all moments at which ``last.ckpt`` was written.
    """

    overrides: Sequence[str]
    folder: Path
    place: Path
    stops: Sequence[Stop]


def train(folder: Path, overrides: Sequence[str], ckpt_path: Path | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    config = compose([*SMALL, *overrides])
    validate_run(config)
    return run(config, dataset(config), folder, ckpt_path, overrides)


@contextmanager
def copies(place: Path, into: Path) -> Iterator[list[Stop]]:
    """Copy a run's folder in the block whenever its ``last.ckpt`` has been written."""
    stops: list[Stop] = []
    save = LastCheckpoint._save

    def save_and_copy(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        shutil.copytree(place, into / str(len(stops)))
        message = read_checkpoint(self.path)["regtorch"]
        stops.append(Stop(into / str(len(stops)), message["epochs"], message["batches"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", save_and_copy)
        yield stops


def undisturbed(root: Path, overrides: Sequence[str]) -> Training:
    """Train, and keep copies of the folder at each moment."""
    with copies(root / "run", root / "stops") as stops:
        train(root / "run", overrides)
    (root / "run").rename(root / "complete")
    return Training(overrides, root / "complete", root / "run", stops)


def differing(one: Any, two: Any, at: str = "") -> list[str]:
    """Return the places where two trees of containers and tensors differ."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        keys = sorted({*one, *two}, key=str)
        return [d for key in keys for d in differing(one.get(key), two.get(key), f"{at}/{key}")]
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        return [d for i, pair in enumerate(zip(one, two, strict=True)) for d in differing(*pair, f"{at}/{i}")]
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if one.dtype == two.dtype and torch.equal(one, two) else [at]
    return [] if one == two or (one != one and two != two) else [f"{at}: {one} {two}"]


def content(folder: Path, name: str) -> dict[str, Any]:
    """Return a checkpoint without durations, file names, and a value that Lightning stores but never reads."""
    saved = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
    del saved["regtorch"]["seconds"]
    for state in saved["callbacks"].values():
        for key in [key for key in state if "path" in key or "models" in key or key == "current_score"]:
            del state[key]
    return saved


def results(folder: Path) -> dict[str, Any]:
    """Return a run's results without durations and overrides."""
    read = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in read.items() if key not in ("seconds", "overrides", "advice")}


def put_back(stop: Stop, place: Path) -> Path:
    """Restore a run's folder at a moment; return the checkpoint to resume from."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(stop.folder, place)
    return place / "checkpoints/last.ckpt"


def assert_the_same(folder: Path, training: Training) -> None:
    """Check that a folder equals that of the uninterrupted training."""
    for name in ("last", "best"):
        assert differing(content(folder, name), content(training.folder, name)) == []
    assert results(folder) == results(training.folder)
    assert (folder / "metrics.csv").read_text() == (training.folder / "metrics.csv").read_text()
    assert not list(folder.glob("**/.unfinished-*"))


def chosen(stops: Sequence[Stop]) -> dict[str, Stop]:
    """Some of the moments at which a training may be stopped."""
    within = [stop for stop in stops if stop.batches]
    return {
        "after the last batch but one": max(within, key=lambda stop: stop.batches),
        "between epochs": next(stop for stop in stops if not stop.batches),
        "in the last epoch": within[-1],
        "at the end": stops[-1],
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the override for a file of small images."""
    rng = np.random.default_rng(0)
    y = np.arange(190) % 3
    x = (rng.random((190, 8, 8)) * 200 + 25 * y[:, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, x_train=x[:150], y_train=y[:150], x_test=x[150:], y_test=y[150:])
    return f"data.path={path}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_resuming_gives_the_same_bits(variant: str, rows: str, tmp_path: Path) -> None:
    training = undisturbed(tmp_path, [rows, *VARIANTS[variant]])
    assert SHOWN.get(variant, Path.exists)(training.folder)
    for index, stop in enumerate(chosen(training.stops).values()):
        elsewhere = index % 2 == 1
        folder = tmp_path / f"elsewhere_{index}" if elsewhere else training.place
        train(folder, training.overrides, put_back(stop, training.place))
        assert_the_same(folder, training)


@pytest.fixture(scope="module")
def plain(rows: str, tmp_path_factory: pytest.TempPathFactory) -> Training:
    overrides = [rows, *VARIANTS["dropout, penalty, norms, warm-up"]]
    return undisturbed(tmp_path_factory.mktemp("plain"), overrides)


def test_it_resumes_from_every_checkpoint(plain: Training) -> None:
    assert len(plain.stops) == 3 * 4 + 3 - 1 + 1  # every second of 27 steps, and after each epoch
    for before, stop in itertools.pairwise(plain.stops[::2]):
        # killed while the second checkpoint was written: all other files are ahead of it
        last = put_back(stop, plain.place)
        shutil.copy(before.folder / "checkpoints/last.ckpt", last)
        (plain.place / "checkpoints/.unfinished-x.last.ckpt").write_bytes(b"half")
        train(plain.place, plain.overrides, last)
        assert_the_same(plain.place, plain)


def test_it_resumes_any_number_of_times(plain: Training, tmp_path: Path) -> None:
    path = put_back(plain.stops[0], plain.place)
    with copies(plain.place, tmp_path / "again") as again:
        train(plain.place, plain.overrides, path)
    assert [(s.epochs, s.batches) for s in again] == [(s.epochs, s.batches) for s in plain.stops[1:]]
    for once, twice in zip(plain.stops[1:], again, strict=True):
        assert differing(content(once.folder, "last"), content(twice.folder, "last")) == []


def test_a_checkpoint_holds_all_that_is_needed_as_plain_data(plain: Training) -> None:
    stop = chosen(plain.stops)["in the last epoch"]
    saved = torch.load(stop.folder / "checkpoints/last.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["state"]
    assert saved["lr_schedulers"][0]["last_epoch"] == saved["global_step"]
    assert saved["DataModule"] == {"epochs": 2, "batches": stop.batches}
    assert {"epochs", "batches", "factors", "steps_taken", "plateau", "ranks", "model", "data"} <= saved[
        "regtorch"
    ].keys()
    (rank,) = saved["regtorch"]["ranks"]
    assert {"torch", "numpy", "python"} <= rank["random"].keys()
    assert {"data_loss", "penalty", "accuracy"} == rank["training_metrics"].keys()


def test_checkpoints_at_intervals_of_seconds(rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    overrides = [rows, "checkpoint.every_n_steps=null", "checkpoint.every_seconds=4", "dropout=standard"]
    training = undisturbed(tmp_path, overrides)
    within = [stop.batches for stop in training.stops if stop.epochs == 0 and stop.batches]
    assert 1 < len(within) < 8
    train(training.place, overrides, put_back(training.stops[0], training.place))
    assert_the_same(training.place, training)


def test_a_damaged_checkpoint_is_refused(plain: Training, tmp_path: Path) -> None:
    complete = (plain.folder / "checkpoints/last.ckpt").read_bytes()
    for name, damaged in {
        "cut": complete[: len(complete) // 2],
        "empty": b"",
        "text": b"no checkpoint\n" * 50,
        "changed": complete[:200] + bytes(100) + complete[300:],
    }.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{name}\.ckpt cannot be read as a checkpoint|is not allowed"):
            read_checkpoint(path)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_checkpoint_is_refused_and_its_code_is_not_run(plain: Training, tmp_path: Path) -> None:
    saved = torch.load(plain.folder / "checkpoints/last.ckpt", weights_only=True)
    torch.save({**saved, "extra": Hostile(tmp_path / "ran")}, tmp_path / "new.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({**saved, "extra": Hostile(tmp_path / "ran")}))
    with pytest.raises(DataError, match="is not allowed: it contains more than weights and plain data"):
        train(tmp_path / "run", plain.overrides, tmp_path / "new.ckpt")
    with pytest.raises(DataError):
        train(tmp_path / "run", plain.overrides, tmp_path / "old.ckpt")
    assert not (tmp_path / "ran").exists()
    assert results(tmp_path / "run")["status"] == "failed"


def test_another_number_of_processes_resumes_only_between_epochs(plain: Training, tmp_path: Path) -> None:
    for moment in ("in the last epoch", "between epochs"):
        saved = read_checkpoint(chosen(plain.stops)[moment].folder / "checkpoints/last.ckpt")
        saved["regtorch"]["ranks"] *= 2
        torch.save(saved, tmp_path / f"{moment}.ckpt")
    with pytest.raises(
        DataError, match=r"in the middle of an epoch by 2 processes, but there are 1 now; take trainer\.devices=2"
    ):
        train(tmp_path / "one", plain.overrides, tmp_path / "in the last epoch.ckpt")
    assert train(tmp_path / "two", plain.overrides, tmp_path / "between epochs.ckpt")["epochs"] == 3


def test_more_epochs_than_before(plain: Training, tmp_path: Path) -> None:
    longer = [*plain.overrides, "trainer.max_epochs=4", "scheduler=none"]
    shorter = [*plain.overrides, "scheduler=none"]
    train(tmp_path / "complete", longer)
    train(tmp_path / "run", shorter)
    assert train(tmp_path / "run", longer, tmp_path / "run/checkpoints/last.ckpt")["epochs"] == 4
    assert (tmp_path / "run/metrics.csv").read_text() == (tmp_path / "complete/metrics.csv").read_text()
    weights = [read_checkpoint(tmp_path / name / "checkpoints/last.ckpt")["state_dict"] for name in ("complete", "run")]
    assert differing(*weights) == []
