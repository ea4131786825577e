"""scripts/predict.py with a trained run: its output files, and one line for a user error."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml

import regtorch
from regtorch.cli.predict import _show
from regtorch.cli.train import show
from regtorch.data.further_rows import FurtherRows
from regtorch.errors import DataError
from regtorch.runs.checkpoint_header import read_description
from regtorch.runs.finished_run import configuration, warn_if_unfinished
from regtorch.runs.prediction_files import PredictionFiles
from regtorch.training.build import make_model, read_checkpoint
from tests.testers.cold import refusal
from tests.testers.command import ended, running

Capsys = pytest.CaptureFixture[str]

ROOT = Path(__file__).parents[2]
PREDICT = ROOT / "scripts" / "predict.py"
OF_ROWS = ["predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio", "samples_used"]

#: prints the imported modules when the process exits
SPY = "import atexit, runpy, sys; atexit.register(lambda: print('TORCH' if 'torch' in sys.modules else '', file=sys.stderr)); "
SPY += f"sys.argv[0] = {str(PREDICT)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"


def trained(folder: Path, *overrides: str) -> Path:
    done = ended(folder, "hydra.run.dir=run", "trainer.max_epochs=2", *overrides, "logger=csv", "mc.samples=8")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("trained"), "dropout=standard")


def predict(run: Path, out: Path, *arguments: str) -> list[dict[str, str]]:
    samples = [] if any(argument.startswith("samples=") for argument in arguments) else ["samples=8"]
    done = ended(out.parent, f"run={run}", f"out={out}", *samples, *arguments, script="predict.py")
    assert done.returncode == 0, done.stderr
    assert str(out / "predictions.") in done.stdout
    (out / "printed.txt").write_text(done.stdout)
    if not (out / "predictions.csv").exists():
        return []
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refused(arguments: list[str], folder: Path, imports_torch: bool = False) -> str:
    """Run a command line that is refused, and return its error line."""
    return refusal("predict.py", arguments, folder, imports_torch=imports_torch)


@pytest.fixture(scope="module")
def predicted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    out = tmp_path_factory.mktemp("predicted")
    return out, predict(run, out)


def test_the_table_has_the_predictor_s_results_for_each_row(run: Path, predicted: tuple[Path, list]) -> None:
    _, rows = predicted
    classes = list("0123456789")
    pinned = ["index", "label", "predicted", "confidence", "correct", *OF_ROWS]
    assert list(rows[0]) == pinned + [f"mean_{name}" for name in classes] + [f"std_{name}" for name in classes]
    splits = regtorch.create("data", "digits").load()
    model = make_model(yaml.safe_load((run / ".hydra/config.yaml").read_text()), splits.shape, 10)
    weights = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): values for name, values in weights.items()})
    expected = regtorch.MCPredictor(model, samples=8, seed=0)(torch.from_numpy(splits.test.x))

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in rows])

    for name in ("mean", "std"):
        values = np.stack([column(f"{name}_{label}") for label in classes], 1)
        np.testing.assert_allclose(values, getattr(expected, name).numpy(), atol=1e-6)
    for name in OF_ROWS:
        np.testing.assert_allclose(column(name), getattr(expected, name).numpy(), atol=1e-5)
    assert column("index").tolist() == list(range(360))
    assert column("label").tolist() == splits.test.y.tolist()
    assert column("predicted").tolist() == expected.mean.argmax(1).tolist()
    np.testing.assert_allclose(column("confidence"), expected.mean.amax(1).numpy(), atol=1e-6)
    assert {row["correct"] for row in rows} == {"true", "false"}
    assert all((row["correct"] == "true") == (row["label"] == row["predicted"]) for row in rows)


def test_the_printed_metrics_equal_those_of_the_training(run: Path, predicted: tuple[Path, list]) -> None:
    out, _ = predicted
    results = json.loads((run / "results.json").read_text())
    off, sampled = (line.split() for line in (out / "printed.txt").read_text().splitlines()[1:3])
    for name, line in (("test", off), ("test_mc", sampled)):  # with the same weights, samples and seed
        assert [float(v) for v in line[-4:]] == [
            round(results[name][k], 4) for k in ("accuracy", "nll", "brier", "ece")
        ]
    assert (out / "predictions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("masks", [pytest.param("shared", marks=pytest.mark.slow), "independent"])
def test_two_devices_write_the_same_file_as_one(
    masks: str, run: Path, predicted: tuple[Path, list], tmp_path: Path
) -> None:
    folder, one = predicted
    if masks == "independent":
        folder, one = tmp_path / "one", predict(run, tmp_path / "one", f"masks={masks}")
    two = predict(run, tmp_path / "two", f"masks={masks}", "devices=2", "accelerator=cpu")
    printed = (folder / "printed.txt").read_text().replace(str(folder), str(tmp_path / "two"))
    assert printed == (tmp_path / "two/printed.txt").read_text()
    assert len(one) == len(two) == 360
    for here, there in zip(one, two, strict=True):
        for name, value in here.items():
            assert there[name] == value or abs(float(there[name]) - float(value)) < 1e-6
    assert not [path for path in (tmp_path / "two").iterdir() if path.name.startswith(".")]


def test_further_rows_are_standardized_like_the_run_s_rows(
    run: Path, predicted: tuple[Path, list], tmp_path: Path
) -> None:
    raw = regtorch.create("data", "digits", standardize="none").load().test.x
    np.savez(tmp_path / "new.npz", x=raw[40:60, 0])
    rows = predict(run, tmp_path / "out", f"data={tmp_path / 'new.npz'}")
    assert "label" not in rows[0]
    assert "correct" not in rows[0]
    for row, known in zip(rows, predicted[1][40:60], strict=True):
        for name in row.keys() - {"index"}:
            assert float(row[name]) == pytest.approx(float(known[name]), abs=1e-6)


def test_another_data_set_is_standardized_like_the_run_s(
    run: Path, predicted: tuple[Path, list], tmp_path: Path
) -> None:
    raw = regtorch.create("data", "digits", standardize="none").load().test
    few = np.asarray(raw.x)[:40, 0]
    np.savez(tmp_path / "own.npz", x_train=few * 3 + 7, y_train=np.arange(40) % 10, x_test=few, y_test=raw.y[:40])
    rows = predict(run, tmp_path / "out", "data=arrays", f"data.path={tmp_path / 'own.npz'}")
    for row, known in zip(rows, predicted[1][:40], strict=True):
        assert row["label"] == known["label"]
        for name in row.keys() - {"index"}:
            if name not in ("label", "predicted", "correct"):
                assert float(row[name]) == pytest.approx(float(known[name]), abs=1e-5)


def test_predictions_of_an_older_network_are_removed_when_a_run_is_trained_further(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    for name in ("predictions.csv", "predictions.png", "predictions.parquet"):
        (copy / name).write_text("old")
    done = ended(tmp_path, "resume=copy", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert (copy / "predictions.csv").exists()  # it was complete
    done = ended(tmp_path, "resume=copy", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert not list(copy.glob("predictions.*"))
    assert "removed predictions.csv, predictions.parquet, predictions.png" in done.stderr


def test_no_rows_give_only_a_header(run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 8, 8)))
    (tmp_path / "predictions.png").write_text("of other rows")
    assert predict(run, tmp_path, f"data={tmp_path / 'empty.npz'}", "devices=2", "accelerator=cpu") == []
    (header,) = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header.startswith("index,predicted,confidence,predictive_entropy")
    assert not (tmp_path / "predictions.png").exists()


def test_a_tolerance_another_part_and_parquet(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(run, tmp_path, "split=val", "format=parquet", "samples=64", "tolerance=0.03", "checkpoint=last")
    columns = parquet.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert len(columns["index"]) == 144
    assert {type(columns[name][0]) for name in ("label", "predicted", "correct", "mean_0")} == {int, bool, float}
    used = set(columns["samples_used"])
    assert len(used) > 1
    assert min(used) >= 16
    assert max(used) <= 64


WRONG = [
    (["samples=3"], ["run="]),
    (["run=nowhere"], ["run=nowhere", "train.py"]),
    (["run=."], ["run=.", ".hydra/config.yaml"]),
    (["run=RUN", "samples=0"], ["samples=0", ">= 1"]),
    (["run=RUN", "tolerance=0"], ["tolerance=0", "> 0"]),
    (["run=RUN", "seed=-1"], ["seed=-1"]),
    (["run=RUN", "smaples=3"], ["smaples=3", "samples"]),
    (["run=RUN", "samples=3", "samples=4"], ["samples=3", "samples=4"]),
    (["run=RUN", "-m"], ["-m", "--help"]),
    (["RUN"], ["run="]),
    (["run=RUN", "masks=some"], ["masks=some", "shared, independent"]),
    (["run=RUN", "checkpoint=first"], ["checkpoint=first", "best, last"]),
    (["run=RUN", "split=all"], ["split=all", "train, val, test"]),
    (["run=RUN", "data.validation_fraction=0", "split=val"], ["split=val", "train, test"]),
    (["run=RUN", "split=val", "data=x.npz"], ["split=val", "data=x.npz"]),
    (["run=RUN", "format=xlsx"], ["format=xlsx", "csv, parquet"]),
    (["run=RUN", "devices=4096"], ["devices=4096", "CPU cores"]),
    (["run=RUN", "out=file"], ["out=file", "folder"]),
    (["run=RUN", "out=file/x"], ["out=file/x is not allowed", "Not a directory"]),
    (["run=RUN", "out=/proc/foo"], ["out=/proc/foo is not allowed", "no file can be created there"]),
    (["run=RUN", "out=/proc"], ["out=/proc is not allowed", "no file can be created there"]),
    (["run=RUN", "out=taken"], ["out=taken is not allowed", "taken/predictions.png is a folder"]),
    (["run=RUN", "samples=1e2"], ["samples=1e2 is not allowed"]),
    (["run=RUN", "data=x.npy"], ["data=x.npy", ".npz", "numpy.savez"]),
    (["run=RUN", "data.path=foo"], ["data.path=foo", "digits, has no path", "data=FILE.npz"]),
    (["run=RUN", "data=nonesuch"], ["data=nonesuch", "digits"]),
    (["run=RUN", "data.paht=x"], ["data.paht=x"]),
    (["run=RUN", "data=arrays"], ["data.path"]),
    (["run=RUN", "data=nowhere.npz"], ["data=nowhere.npz", "numpy.savez"]),
    (["run=RUN", "data=synthetic"], ["data=synthetic", "[20]", "[1, 8, 8]"]),
    (["run=RUN", "data=synthetic", "data.row_shape=[1,8,8]"], ["data=synthetic", "4 classes", "10 classes"]),
    (["run=RUN", "data=flat.npz"], ["data=flat.npz", "(64,)", "(1, 8, 8)"]),
    (["run=RUN", "data=pixels.npz"], ["data=pixels.npz", "uint8", "float32"]),
    (["run=RUN", "data=arrays", "data.path=own.npz"], ["own.npz", "uint8", "float32"]),
    (["run=RUN", "data=arrays", "data.path=a=1.npz"], ["data.path='a=1.npz'"]),
    (["run=RUN", "data.standardize=none"], ["data.standardize=none is not allowed", "as in training"]),
    (["run=RUN", "data=strings.npz"], ["data=strings.npz: y holds strings", "numpy.unique"]),
    (["run=RUN", "data=folder"], ["data=folder: there are no images"]),
    (["run=RUN", "data=image.bmp"], ["data=image.bmp", ".npz file, an image (.jpeg, .jpg, .png)"]),
    (["run=RUN", "data=no/where"], ["data=no/where: there is no such file or folder"]),
    (["run=RUN", "data=labels.npz"], ["data=labels.npz", "y has", "10 classes"]),
    (["run=RUN", "data=lengths.npz"], ["data=lengths.npz", "3 rows", "4"]),
    (["run=RUN", "data=nan.npz"], ["data=nan.npz", "NaN", "row 2"]),
    (["run=RUN", "data=pickled.npz"], ["data=pickled.npz", "plain arrays"]),
    (["run=RUN", "data=keys.npz"], ["data=keys.npz", "no x", "it has: images"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value) if "=" in value[0] else "")
def test_a_mistake_is_one_line(arguments: list[str], words: list[str], run: Path, tmp_path: Path) -> None:
    x = np.zeros((3, 8, 8))
    nan = np.zeros((3, 8, 8))
    nan[2, 1] = np.nan
    np.savez(tmp_path / "flat.npz", x=x.reshape(3, 64))
    np.savez(tmp_path / "pixels.npz", x=x.astype(np.uint8))
    np.savez(tmp_path / "labels.npz", x=x, y=[0, 10, 3])
    np.savez(tmp_path / "lengths.npz", x=x, y=[0, 1, 2, 3])
    np.savez(tmp_path / "nan.npz", x=nan)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "keys.npz", images=x)
    pixels, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "own.npz", x_train=pixels, y_train=y, x_test=pixels, y_test=y)
    np.savez(tmp_path / "strings.npz", x=x, y=["a", "b", "c"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "taken/predictions.png").mkdir(parents=True)
    line = refused([argument.replace("RUN", str(run)) for argument in arguments], tmp_path)
    for word in words:
        assert word in line


def test_parquet_without_pyarrow_names_the_extra(run: Path, tmp_path: Path) -> None:
    without = f"import sys; sys.modules['pyarrow'] = None; {SPY}"
    arguments = [f"run={run}", "format=parquet"]
    done = subprocess.run([sys.executable, "-c", without, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: format=parquet needs pyarrow: pip install 'regtorch[parquet]'")
    assert done.stderr.strip().count("\n") == 0


def test_a_network_without_dropout_predicts_in_one_pass(tmp_path: Path) -> None:
    folder = trained(tmp_path)
    rows = predict(folder, tmp_path / "out")
    classes = list("0123456789")
    probabilities = np.array([[float(row[f"mean_{name}"]) for name in classes] for row in rows])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(1)
    np.testing.assert_allclose([float(row["predictive_entropy"]) for row in rows], entropy, atol=1e-4)
    correct = np.mean([row["correct"] == "true" for row in rows])
    assert correct == pytest.approx(json.loads((folder / "results.json").read_text())["test"]["accuracy"])
    assert {row["samples_used"] for row in rows} == {"0"}
    only_of_samples = [
        "expected_entropy",
        "mutual_information",
        "variation_ratio",
        *(f"std_{name}" for name in classes),
    ]
    assert {row[name] for row in rows for name in only_of_samples} == {""}
    assert "no dropout in the network" in (tmp_path / "out/printed.txt").read_text()


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def test_a_folder_without_its_checkpoint_or_with_a_damaged_one(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    best = copy / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    assert "is it complete?" in refused(["run=copy"], tmp_path)
    best.unlink()
    assert "there is no checkpoints/best.ckpt" in refused(["run=copy"], tmp_path)
    (copy / ".hydra/config.yaml").write_text("model: [")
    assert ".hydra/config.yaml is damaged" in refused(["run=copy"], tmp_path)


def test_a_run_of_an_earlier_version_gets_the_defaults_of_later_keys(run: Path, tmp_path: Path) -> None:
    path = copied(run, tmp_path) / ".hydra/config.yaml"
    config = yaml.safe_load(path.read_text())
    for key in ("penalty_schedule", "dropout_schedule", "checkpoint", "compile", "activity_regularizer"):
        del config[key]
    del config["trainer"]["precision"]
    path.write_text(yaml.safe_dump(config))
    filled = configuration(path.parents[1])
    complete = configuration(run)
    assert filled == complete
    assert len(predict(path.parents[1], tmp_path / "out")) == 360


@pytest.mark.parametrize("results", ["", "{", '{"status": "failed", "reason": "the loss became NaN"}'])
def test_an_unfinished_run_is_reported(results: str, run: Path, tmp_path: Path, capsys: Capsys) -> None:
    warn_if_unfinished(run)
    assert capsys.readouterr().err == ""
    (tmp_path / "results.json").write_text(results)
    if not results:
        (tmp_path / "results.json").unlink()
    warn_if_unfinished(tmp_path)
    message = capsys.readouterr().err
    assert message.startswith(f"warning: run={tmp_path}: its training did not finish (")
    assert message.count("\n") == 1
    assert "reason" not in results or "failed: the loss became NaN" in message


def test_a_checkpoint_without_weights_or_with_nan_in_them(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    content = torch.load(copy / "checkpoints/best.ckpt", weights_only=True)
    weights = content.pop("state_dict")
    torch.save(content, copy / "checkpoints/best.ckpt")
    assert "is not a checkpoint of a regtorch run" in refused(["run=copy"], tmp_path)
    weights["model.hidden.0.linear.weight"][1, 2] = torch.nan
    torch.save({**content, "state_dict": weights}, copy / "checkpoints/best.ckpt")
    line = refused(["run=copy", "out=new"], tmp_path, imports_torch=True)
    assert "best.ckpt has weights that are not finite (hidden.0.linear.weight)" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("labels", [pytest.param({}, marks=pytest.mark.slow), {"y": [1, 2, 3]}])
def test_rows_too_large_for_the_network_are_one_line(labels: dict, run: Path, tmp_path: Path) -> None:
    x = np.ones((3, 8, 8), np.float32)
    x[1] = 3e38
    x[1, ::2] = -3e38
    np.savez(tmp_path / "large.npz", x=x, **labels)
    line = refused([f"run={run}", "data=large.npz", "out=new", "samples=3"], tmp_path, imports_torch=True)
    assert "data=large.npz: for 1 of the 3 rows" in line
    assert "first for row 1" in line
    assert not (tmp_path / "new").exists()


def test_unreadable_files_are_not_reported_as_damaged(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 8, 8)))
    data = regtorch.create("data", "digits")
    data.load()
    refuse = PermissionError(13, "Permission denied")
    for function in ("regtorch.system.untrusted.os.open", "zipfile.ZipFile.__init__", "numpy.load", "torch.load"):
        monkeypatch.setattr(function, Mock(side_effect=refuse))
    reads = [
        lambda: configuration(run),
        lambda: read_description(run / "checkpoints/best.ckpt"),
        lambda: read_checkpoint(run / "checkpoints/best.ckpt"),
        lambda: FurtherRows(path=str(tmp_path / "rows.npz")).like(data),
    ]
    for read in reads:
        with pytest.raises(DataError, match=r"cannot be read: Permission denied$"):
            read()


def test_a_table_of_another_format_is_removed(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    files = [PredictionFiles(tmp_path, name, f"out={tmp_path}") for name in ("csv", "parquet", "csv")]
    for one in files:
        one.write(lambda path: path.write_text("new"), lambda path: path.write_text("picture"))
        assert {path.name for path in tmp_path.iterdir()} == {one.table.name, "predictions.png"}


def test_table_and_figure_are_replaced_together(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path, "csv", f"out={tmp_path}")
    files.write(lambda path: path.write_text("old"), lambda path: path.write_text("old"))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left") as error:
        files.write(lambda path: path.write_text("new"), full)
    assert error.value.filename == str(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "predictions.csv": "old",
        "predictions.png": "old",
    }


def _signal_to_itself(signum: int) -> None:
    from regtorch.mc import MCPredictor

    MCPredictor.from_row = lambda self, first_row, x: os.kill(os.getpid(), signum)  # type: ignore[assignment]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once(signum: int, status: int, run: Path, tmp_path: Path) -> None:
    first = partial(_signal_to_itself, signum)
    with running(tmp_path, f"run={run}", f"out={tmp_path / 'new'}", script="predict.py", first=first) as command:
        assert command.status() == status, command.stderr
    assert "Traceback" not in command.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("columns", ["20", "30"])
def test_a_narrow_terminal_cuts_no_number(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    values = {"accuracy": 0.12345, "loss": 2.34567, "nll": 3.45678, "brier": 0.56789, "ece": 0.67891}
    _show({"mean of up to 1000 samples": values}, 7, [])
    show({"train_eval": values, "test": values, "epochs": 2, "seconds": 1.0, "parameters": 9}, tmp_path)
    printed = capsys.readouterr().out
    assert "…" not in printed
    for name, value in values.items():
        assert printed.count(f"{value:.4f}") == (2 if name == "loss" else 3)


def test_a_configuration_can_only_name_registered_components(run: Path, tmp_path: Path) -> None:
    path = copied(run, tmp_path) / ".hydra/config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "model": {"name": "os.system", "command": "touch mark"}}))
    assert "os.system" in refused(["run=copy"], tmp_path)
    path.write_text(yaml.safe_dump({**config, "model": {**config["model"], "_target_": "os.system"}}))
    assert "_target_" in refused(["run=copy"], tmp_path)
    path.write_text(yaml.safe_dump({**config, "model": {**config["model"], "hidden": [32]}}))
    line = refused(["run=copy"], tmp_path, imports_torch=True)
    assert "does not fit the model" in line
    assert "hidden.0" in line


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_would_run_code_is_refused(run: Path, tmp_path: Path) -> None:
    path, mark = copied(run, tmp_path) / "checkpoints/best.ckpt", tmp_path / "mark"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "callbacks": Bomb(mark)}, path)
    line = refused(["run=copy"], tmp_path)
    assert "best.ckpt is damaged: callbacks=" in line
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # without the guard, its code runs
