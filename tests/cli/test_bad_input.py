"""A user error prints one clear line with key, value and remedy, without a traceback, a run folder or importing torch."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.testers.cold import refusal
from tests.testers.command import ended, running

ROOT = Path(__file__).parents[2]


def refused(arguments: list[str], folder: Path) -> str:
    """Run a command line that is refused, and return its error line."""
    line = refusal("train.py", arguments, folder)
    assert not (folder / "outputs").exists()
    return line


@pytest.mark.parametrize(
    "group",
    [
        "data",
        "model",
        "activation",
        "initializer",
        "regularizer",
        "dropout",
        "constraint",
        "optimizer",
        "scheduler",
        "callbacks",
        "trainer",
        "logger",
        "augmentation",
        "mc",
    ],
)
def test_an_unknown_option_lists_the_valid_ones(group: str, tmp_path: Path) -> None:
    line = refused([f"{group}=nonesuch"], tmp_path)
    assert f"{group}=nonesuch" in line
    options = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
    assert f"there are: {', '.join(options)}" in line


def test_an_unknown_option_at_another_place_or_of_an_experiment(tmp_path: Path) -> None:
    assert "regularizer@bias_regularizer=l3" in refused(["regularizer@bias_regularizer=l3"], tmp_path)
    assert "digits_standard" in refused(["experiment=digits_standart"], tmp_path)


WRONG = [
    (
        ["dropout=standard", "dropout.drop_prob=0.2", "dropout.keep_prob=0.8"],
        ["drop_prob=0.2", "keep_prob=0.8", "one of them"],
    ),
    (["dropout=standard", "dropout.drop_prob=1.5"], ["dropout.drop_prob=1.5", "0 to 1"]),
    (["dropout=standard", "dropout.keep_prob=-0.1"], ["dropout.keep_prob=-0.1", "0 to 1"]),
    (["dropout=alpha", "dropout.drop_prob=1"], ["dropout.drop_prob=1", "below 1"]),
    (["dropout=standard", "dropout.p=0.5"], ["dropout.p=0.5", "drop_prob", "keep_prob"]),
    (["dropout=standard", "+dropout.rate=0.5"], ["dropout.rate=0.5", "drop_prob", "keep_prob"]),
    (["dropout.drop_prob=0.2", "dropout=none"], ["dropout.drop_prob=0.2", "dropout=standard"]),
    (["regularizer=l1", "regularizer.l1=-0.1"], ["regularizer.l1=-0.1", ">= 0"]),
    (["regularizer=l1_l2", "regularizer.l2=nan"], ["regularizer.l2=nan", ">= 0"]),
    (["regularizer.l1=0.1"], ["regularizer.l1=0.1", "regularizer=l1 or regularizer=l1_l2"]),
    (["regularizer=l2", "regularizer.l1=0.1"], ["regularizer.l1=0.1", "l2"]),
    (["regularizer@bias_regularizer=l1", "bias_regularizer.l1=-1"], ["bias_regularizer.l1=-1"]),
    (["regularizer=several", "regularizer.rules=[{name: l1, l1: -1}]"], ["regularizer.rules[0].l1=-1"]),
    (["regularizer=several", "regularizer.rules=[{name: l5}]"], ["l5", "l1"]),
    (["constraint=max_norm", "constraint.max_value=0"], ["constraint.max_value=0", "> 0"]),
    (["constraint=min_max_norm", "constraint.min_value=3"], ["constraint.min_value=3", "at most"]),
    (
        ["regularizer=l1", "regularizer.where=tail.*"],
        ["regularizer.where=tail.*", "hidden.0.linear.weight", "head.bias"],
    ),
    (["constraint=non_neg", "constraint.where=kernel:conv*"], ["constraint.where=kernel:conv*", "head.weight"]),
    (["model.hidden=[]"], ["model.hidden=[]", "non-empty"]),
    (["model.hidden=[64,-3]"], ["model.hidden=[64, -3]", ">= 1"]),
    (["model=cnn", "model.channels=[8,8,8,8,8]"], ["model.channels", "8x8"]),
    (["model=cnn", "data=synthetic"], ["model=cnn", "images", "mlp"]),
    (["augmentation=flip", "data=synthetic"], ["augmentation=flip", "images"]),
    (
        ["regularizer@activity_regularizer=l1", "activity_regularizer.where=tail"],
        ["activity_regularizer.where=tail", "hidden.0"],
    ),
    (["regularizer=activity", "regularizer.where=tail"], ["regularizer.where=tail", "layer"]),
    (["regularizer=several", "regularizer.rules=[{name: l1, where: tail}]"], ["regularizer.rules[0].where=tail"]),
    (["regularizer=l1", "regularizer.where=kernels:x"], ["regularizer.where=kernels:x", "glob"]),
    (["~optimizer"], ["optimizer"]),
    (["model=null"], ["model=null"]),
    (["data.batch_size=0"], ["data.batch_size=0", ">= 1"]),
    (["data.path=x"], ["data.path=x", "batch_size"]),
    (["data.batchsize=8"], ["data.batchsize=8", "batch_size"]),
    (["data=image_folder", "data.path=nowhere"], ["data.path=nowhere"]),
    (["data=fashion_mnist", "data.path=nowhere"], ["data.path=nowhere"]),
    (["data=cifar10", "data.path=nowhere"], ["data.path=nowhere"]),
    (["trainer=cpu", "trainer.devices=4096"], ["trainer.devices=4096", "CPU core"]),
    (["data.reshuffle=once"], ["data.reshuffle=once", "true or false"]),
    (["trainer.max_epochs=0"], ["trainer.max_epochs=0", ">= 1"]),
    (["+trainer.foo=1"], ["trainer.foo=1", "Lightning", "max_epochs"]),
    (["+trainer.limit_val_batches=1"], ["trainer.limit_val_batches=1", "regtorch sets it itself"]),
    (["schedule=cosine"], ["schedule=cosine", "schedule@penalty_schedule=cosine or schedule@dropout_schedule=cosine"]),
    (
        ["dropout=standard", "dropout.keep_prob=0.7", "schedule@dropout_schedule=cosine", "dropout_schedule.start=5"],
        ["dropout_schedule.start=5", "dropout.drop_prob=0.3", "from 0 to 1"],
    ),
    (
        ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "compile=true"],
        ["compile=true", "trainer.strategy=fsdp", "compile=false"],
    ),
    (["resume=a=b"], ["resume=a=b", "write \"resume='a=b'\""]),
    (["trainer.precision=fp8"], ["trainer.precision=fp8", "bf16-mixed"]),
    (["optimizer.lr=0"], ["optimizer.lr=0", "> 0"]),
    (["seed=-1"], ["seed=-1"]),
    (["evaluate=first"], ["evaluate=first", "best, last"]),
    (["mc.samples=0"], ["mc.samples=0", ">= 1"]),
    (["ckpt_path=nowhere.ckpt"], ["ckpt_path=nowhere.ckpt"]),
    (["resume=nowhere"], ["resume=nowhere"]),
    (["regulariser=l1"], ["regulariser=l1", "regularizer"]),
    (["regularizer=l1", "regularizer.l1=[1"], ["regularizer.l1=[1"]),
    (["+model._target_=os.system"], ["_target_"]),
    (["-m", "regularizer=none,l3"], ["regularizer=l3", "there are"]),
    (["-m", "regularizer=l1", "regularizer.l1=0.1,-0.1"], ["regularizer.l1=-0.1"]),
    (["-m", "dropout=none,standard", "dropout.drop_prob=0.2,0.5"], ["dropout.drop_prob=0.2", "dropout=none"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value) if "=" in value[0] else "")
def test_the_error_names_key_value_and_remedy(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    line = refused(arguments, tmp_path)
    for word in words:
        assert word in line


@pytest.mark.skipif(Path("/proc/driver/nvidia/gpus").exists(), reason="this machine has a GPU")
def test_a_missing_gpu(tmp_path: Path) -> None:
    assert "trainer=cpu" in refused(["trainer=gpu"], tmp_path)


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.random((40, 6)),
        "y_train": np.arange(40) % 3,
        "x_test": rng.random((9, 6)),
        "y_test": np.arange(9) % 3,
    }
    return {**good, **changes}


NAN = arrays()["x_train"].copy()
NAN[7, 2] = np.nan
BAD_ARRAYS = {
    "without the keys": ({"x": np.zeros(3)}, ["x_train"]),
    "mismatched lengths": (arrays(y_train=np.arange(39) % 3), ["40", "39"]),
    "labels outside the classes": (arrays(y_test=np.full(9, 3)), ["y_test", "3"]),
    "NaN pixels": (arrays(x_train=NAN), ["x_train", "NaN", "row 7"]),
}


@pytest.mark.parametrize(("content", "words"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(content: dict, words: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **content)
    line = refused(["data=arrays", "data.path=bad.npz"], tmp_path)
    for word in ["data.path=bad.npz", *words]:
        assert word in line


def test_a_truncated_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "complete.npz", **arrays())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "complete.npz").read_bytes()[:-100])
    assert "data.path=cut.npz" in refused(["data=arrays", "data.path=cut.npz"], tmp_path)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return ended(folder, "hydra.run.dir=run", "trainer.max_epochs=2", "logger.tensorboard=false", *arguments)


def test_a_checkpoint_of_another_run_is_refused_and_one_of_the_same_run_is_resumed(tmp_path: Path) -> None:
    assert run([], tmp_path).returncode == 0
    assert "model.hidden=[64], this one has [32]" in refused(
        ["ckpt_path=run/checkpoints/last.ckpt", "model.hidden=[32]"], tmp_path
    )
    assert "activation" in refused(["resume=run", "activation=prelu"], tmp_path)
    assert "2 epochs already" in refused(["ckpt_path=run/checkpoints/last.ckpt", "trainer.max_epochs=2"], tmp_path)
    assert "data.split_seed" in refused(["resume=run", "trainer.max_epochs=3", "data.split_seed=1"], tmp_path)
    assert "optimizer.name" in refused(["resume=run", "trainer.max_epochs=3", "optimizer=sgd"], tmp_path)
    (tmp_path / "broken.ckpt").write_bytes((tmp_path / "run/checkpoints/last.ckpt").read_bytes()[:1000])
    assert "broken.ckpt" in refused(["ckpt_path=broken.ckpt"], tmp_path)
    on = ["ckpt_path=run/checkpoints/last.ckpt", "trainer.max_epochs=3", "hydra.run.dir=again"]
    assert run(on, tmp_path).returncode == 0
    assert json.loads((tmp_path / "again/results.json").read_text())["epochs"] == 3


def test_resume_uses_the_overrides_of_the_run(tmp_path: Path) -> None:
    assert run(["regularizer=l1", "dropout=standard", "model.hidden=[16]"], tmp_path).returncode == 0
    done = ended(tmp_path, "resume=run", "trainer.max_epochs=3", "hydra.run.dir=on")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "on/results.json").read_text())
    assert {"regularizer=l1", "dropout=standard", "model.hidden=[16]", "trainer.max_epochs=3"} <= set(
        results["overrides"]
    )
    assert results["epochs"] == 3
    assert results["test_mc"] is not None


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ended(tmp_path, "hydra.run.dir=file/run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "file" in done.stderr


def test_an_unexpected_error_is_one_line_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    done = run(["+trainer.profiler=nonesuch"], tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "profiler" in line
    assert "Traceback" in (tmp_path / "run/train.log").read_text()
    assert json.loads((tmp_path / "run/results.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_recorded_in_the_results_and_the_exit_status(number: int, status: int, tmp_path: Path) -> None:
    endless = ["hydra.run.dir=run", "trainer.max_epochs=100000", "logger.tensorboard=false"]
    with running(tmp_path, *endless) as command:
        command.until((tmp_path / "run/checkpoints/last.ckpt").exists)
        command.kill(number)
        assert command.status() == status
    message = command.stderr
    hint = f"to resume: python scripts/train.py resume={tmp_path / 'run'}"
    assert message.strip().splitlines()[-1] == f"error: interrupted; {hint}"
    assert json.loads((tmp_path / "run/results.json").read_text())["status"] == "interrupted"


def test_a_loss_that_turns_nan_stops_the_run(tmp_path: Path) -> None:
    done = run(["optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=5"], tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the last finite values were" in line
    assert "Traceback" not in done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["status"] == "failed"
    assert results["reason"] in line
