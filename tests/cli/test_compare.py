"""regtorch-compare: it trains only missing runs, resumes after a kill, and reports a user error in one line."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regtorch.cli.compare import main
from regtorch.cli.compare_args import parse
from regtorch.config.compose import compose
from regtorch.errors import RegtorchError
from tests.testers.cold import Answer, answered, refusal
from tests.testers.command import ended, running

ROOT = Path(__file__).parents[2]
BOTH = "experiment=digits_standard,digits_custom"
QUICK = ["trainer.max_epochs=1", "mc.samples=2", "logger.tensorboard=false"]


def cold(arguments: list[str], folder: Path) -> Answer:
    """Run the command in a process that has not imported torch."""
    done = answered("compare.py", arguments, folder)
    assert not done.imported_torch
    return done


def compared(arguments: list[str], status: int = 0) -> None:
    """Run the command in this process, which has imported torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["regtorch-compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == status


def finished(study: Path) -> dict[str, tuple[int, str]]:
    """Return the study's runs with their time of writing and their content."""
    paths = sorted((study / "runs").glob("*/*/results.json"))
    return {str(path.parent.relative_to(study / "runs")): (path.stat().st_mtime_ns, path.read_text()) for path in paths}


def rows(study: Path) -> list[dict[str, str]]:
    with (study / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two recipes and three seeds, trained in two steps."""
    out = tmp_path_factory.mktemp("compare") / "study"
    compared(["experiment=digits_standard", "seeds=2", f"out={out}", *QUICK])
    before = finished(out)
    assert list(before) == ["digits_standard/1", "digits_standard/2"]
    compared([BOTH, "seeds=[1,2,9]", f"out={out}", *QUICK])
    after = finished(out)
    assert list(after) == [f"digits_{name}/{seed}" for name in ("custom", "standard") for seed in (1, 2, 9)]
    assert before.items() <= after.items()  # more seeds and another experiment: completed runs are not trained again
    return out


def test_the_table_is_of_the_runs(study: Path) -> None:
    found = {(row["metric"], row["recipe"]): row for row in rows(study)}
    metrics = {metric for metric, _ in found}
    measured = {
        f"{part}.{name}" for part in ("test", "test_mc") for name in ("accuracy", "loss", "nll", "brier", "ece")
    }
    assert metrics == {*measured, "train_eval.accuracy", "sparsity", "seconds"}
    runs = {name: json.loads(text) for name, (_, text) in finished(study).items()}
    row = found["test.nll", "digits_custom"]
    custom, standard = (
        [runs[f"digits_{name}/{seed}"]["test"]["nll"] for seed in (1, 2, 9)] for name in ("custom", "standard")
    )
    assert float(row["mean"]) == pytest.approx(sum(custom) / 3)
    assert float(row["difference"]) == pytest.approx((sum(custom) - sum(standard)) / 3)
    assert (row["n"], row["pairs"], row["verdict"]) == ("3", "3", "too few seeds")
    assert (study / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "| test.nll | digits_custom | 3 |" in (study / "comparison.md").read_text()
    assert sorted(path.name for path in study.iterdir()) == [
        *("comparison.csv", "comparison.md", "comparison.png", "runs")
    ]


def test_a_run_equals_one_of_train_py(study: Path, tmp_path: Path) -> None:
    done = ended(tmp_path, "experiment=digits_custom", *QUICK, "seed=9", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    ours, theirs = (study / "runs/digits_custom/9", tmp_path / "run")
    one, two = (json.loads((folder / "results.json").read_text()) for folder in (ours, theirs))
    for name in (
        "status",
        "seed",
        "epochs",
        "parameters",
        "train",
        "test",
        "test_mc",
        "sparsity",
        "overrides",
        "advice",
    ):
        assert one[name] == two[name]
    for name in ("config", "overrides"):
        paths = [folder / ".hydra" / f"{name}.yaml" for folder in (ours, theirs)]
        assert yaml.safe_load(paths[0].read_text()) == yaml.safe_load(paths[1].read_text())
    assert {path.name for path in theirs.iterdir()} == {path.name for path in ours.iterdir()}
    assert "rows to train on" in (ours / "train.log").read_text()
    # so runs of both commands can be compared: the same recipe and seed count as one run
    done = cold([str(ours), str(theirs), "out=both"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the same recipe and seed" in done.stdout
    assert rows(tmp_path / "both")[0]["recipe"] == "digits_custom trainer.max_epochs=1 mc.samples=2"


def test_repeating_the_command_trains_nothing_and_needs_no_torch(study: Path) -> None:
    before, table = finished(study), (study / "comparison.csv").read_text()
    done = cold([BOTH, "seeds=[1,2,9]", f"out={study}", *QUICK], study)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    assert finished(study) == before
    assert (study / "comparison.csv").read_text() == table
    for words in ("digits_standard", "test.accuracy", "too few seeds", "Holm", f"{study}/comparison.md"):
        assert words in done.stdout


def test_folders_of_finished_runs_give_the_same_table(study: Path, tmp_path: Path) -> None:
    order = [str(study / "runs/digits_standard"), *map(str, sorted((study / "runs/digits_custom").iterdir()))]
    done = cold([*order, "metrics=test.accuracy,seconds", f"out={tmp_path / 'again'}"], tmp_path)
    assert done.returncode == 0, done.stderr
    theirs = [row for row in rows(study) if row["metric"] in ("test.accuracy", "seconds")]
    assert rows(tmp_path / "again") == theirs
    cold([str(study)], tmp_path)
    assert (tmp_path / "studies/digits_custom-digits_standard/comparison.png").is_file()  # named by what it compares


def test_runs_that_did_not_complete_are_trained_again_and_others_are_not(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    shutil.copytree(study, out)
    interrupted, failed, damaged, missing = (out / f"runs/digits_{name}/{seed}" for name, seed in (
        ("standard", 1), ("standard", 2), ("custom", 1), ("custom", 2)
    ))  # fmt: skip
    good = finished(out)
    for folder, status in ((interrupted, "interrupted"), (failed, "failed")):
        (folder / "results.json").write_text(json.dumps({"status": status, "seed": 1}))
    (damaged / "results.json").write_text("{")
    (missing / "results.json").unlink()
    (missing / "half").write_text("what a killed run has left")
    compared([BOTH, "seeds=[1,2,9]", f"out={out}", *QUICK])
    now = finished(out)
    again = {"digits_standard/1", "digits_standard/2", "digits_custom/1", "digits_custom/2"}
    assert {name for name in now if now[name][0] != good[name][0]} == again
    for name in again:
        assert json.loads(now[name][1])["test"] == json.loads(good[name][1])["test"]
    assert not (missing / "half").exists()


def test_another_configuration_is_trained_and_the_earlier_runs_are_kept(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    shutil.copytree(study, out)
    before = finished(out)
    compared([BOTH, "seeds=1", f"out={out}", *QUICK, "trainer.max_epochs=2"])
    now = finished(out)
    for name in ("digits_standard/1", "digits_custom/1"):
        assert json.loads(now[name][1])["epochs"] == 2
        assert (out / "earlier" / f"{name}-1" / "results.json").read_text() == before[name][1]
    assert now["digits_custom/2"] == before["digits_custom/2"]


def test_a_reference_to_the_seed_is_resolved_for_each_run(tmp_path: Path) -> None:
    arguments = ["experiment=digits_standard", "seeds=2", f"out={tmp_path}", *QUICK, "data.split_seed=${seed}"]
    compared(arguments)
    before = finished(tmp_path)
    one, two = (json.loads(text)["test"] for _, text in before.values())
    assert one != two
    compared(arguments)
    assert finished(tmp_path) == before
    compared([str(tmp_path / "runs"), f"out={tmp_path}"])  # runs in one folder per seed still are one recipe
    assert {row["n"] for row in rows(tmp_path)} == {"2"}


def test_a_killed_study_is_resumed(tmp_path: Path) -> None:
    arguments = [BOTH, "seeds=3", "out=study", "mc.samples=2", "logger.tensorboard=false", "trainer.max_epochs=4"]
    under_way = tmp_path / "study/runs/digits_standard/2"  # the third run
    with running(tmp_path, *arguments, script="compare.py") as command:
        command.until((under_way / "checkpoints/last.ckpt").exists)
        command.kill(signal.SIGKILL)
        command.status()
    before = finished(tmp_path / "study")
    assert list(before) == ["digits_custom/1", "digits_standard/1"]
    assert under_way.is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        compared(arguments)
    after = finished(tmp_path / "study")
    assert len(after) == 6
    assert before.items() <= after.items()
    assert {json.loads(text)["status"] for _, text in after.values()} == {"completed"}


def test_an_interrupt_is_one_line_that_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "study/runs/digits_standard/1"
    endless = [BOTH, "seeds=2", "out=study", "trainer.max_epochs=100000"]
    with running(tmp_path, *endless, script="compare.py") as command:
        command.until((run / "checkpoints/last.ckpt").exists)
        command.kill(signal.SIGINT)
        assert command.status() == 130
    assert command.stderr.strip().splitlines()[-1] == (
        "error: interrupted; 0 of 4 runs are trained; the same command resumes it"
    )
    assert json.loads((run / "results.json").read_text())["status"] == "interrupted"


def test_a_failed_run_is_named_and_the_others_are_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the gradient of squared L1 is not bounded: at this learning rate it diverges, while L1 does not
    settings = ["optimizer=sgd", "optimizer.lr=0.5", "trainer.max_epochs=4", "mc=none", "logger.tensorboard=false"]
    arguments = [BOTH, "seeds=2", f"out={tmp_path}", *settings]
    compared(arguments, status=1)
    message = capsys.readouterr()
    failures = [line for line in message.err.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1].strip() for line in failures] == ["digits_custom, seed 1", "digits_custom, seed 2"]
    assert "the loss became" in failures[0]
    assert "Traceback" not in message.err
    statuses = {name: json.loads(text)["status"] for name, (_, text) in finished(tmp_path).items()}
    assert statuses == {
        **{f"digits_standard/{seed}": "completed" for seed in (1, 2)},
        **{f"digits_custom/{seed}": "failed" for seed in (1, 2)},
    }
    assert {row["recipe"] for row in rows(tmp_path)} == {"digits_standard"}
    assert "- failed: digits_custom, seed 2: the loss became" in (tmp_path / "comparison.md").read_text()
    before = finished(tmp_path)
    compared(arguments, status=1)  # a failed run is trained again
    after = finished(tmp_path)
    assert {name for name in after if after[name][0] != before[name][0]} == {"digits_custom/1", "digits_custom/2"}
    done = cold([str(tmp_path / "runs")], tmp_path)
    assert "left out:" in done.stdout
    assert "digits_custom/2 (failed: the loss became" in done.stdout.replace("\n", "")


def test_without_a_run_of_the_first_recipe_another_baseline_is_reported(tmp_path: Path) -> None:
    settings = ["optimizer=sgd", "optimizer.lr=0.5", "trainer.max_epochs=4", "mc=none", "logger.tensorboard=false"]
    compared(["experiment=digits_custom,digits_standard", "seeds=1", f"out={tmp_path}", *settings], status=1)
    message = (tmp_path / "comparison.md").read_text()
    assert "- no run of digits_custom completed: the others are compared with digits_standard" in message


def test_an_unexpected_failure_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    compared(["experiment=digits_standard", "seeds=1", f"out={tmp_path}", "+trainer.profiler=nonesuch"], status=1)
    assert "Traceback" in (tmp_path / "runs/digits_standard/1/train.log").read_text()
    assert not (tmp_path / "comparison.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = cold(["study=digits", f"out={tmp_path}"], tmp_path)
    assert done.returncode == 2
    assert "is being trained by another process" in done.stderr


def test_help_is_short_and_needs_no_torch(tmp_path: Path) -> None:
    done = cold(["--help"], tmp_path)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert len(done.stdout.splitlines()) < 30
    for words in (
        "experiment",
        "seeds",
        "study",
        "digits, fashion",
        "out",
        "metrics",
        "test_mc.nll",
        "trainer.max_epochs=5",
    ):
        assert words in done.stdout


def test_a_named_study_defines_the_recipes() -> None:
    request = parse(["study=digits", "optimizer.lr=0.1"])
    assert request.experiments == ("digits_standard", "digits_custom")
    assert request.seeds == tuple(range(1, 11))
    assert (request.overrides, request.name) == (("optimizer.lr=0.1",), "digits")
    assert parse(["study=digits", "seeds=[7]"]).seeds == (7,)


@pytest.mark.parametrize("path", sorted((ROOT / "conf/study").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_names_experiments_that_can_be_composed(path: Path) -> None:
    for name in parse([f"study={path.stem}"]).experiments:
        assert compose([f"experiment={name}"])["seed"] == 0


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("seeds=3", (1, 2, 3)),
        ("seeds=[3,7]", (3, 7)),
        ("seeds=3,7", (3, 7)),
        ("seeds=[0]", (0,)),
        ("", (1, 2, 3, 4, 5)),
    ],
)
def test_seeds_are_a_number_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert parse(["experiment=[digits_custom, digits_standard]", *[text][: len(text)]]).seeds == seeds


@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=20), max_size=3)
)
def test_any_command_line_is_parsed_or_refused(texts: list[str]) -> None:
    for key in ("", "experiment=", "seeds=", "study=", "metrics=", "out=", "data.path="):
        with suppress(RegtorchError):
            parse([BOTH, *(key + text for text in texts)])
    assert parse([BOTH, "data.path=" + "x" * 5000]).overrides[0].endswith("xxx")


def refused(arguments: list[str], folder: Path) -> str:
    """Run a command line that is refused, and return its error line."""
    before = sorted(folder.rglob("*"))
    line = refusal("compare.py", arguments, folder)
    assert sorted(folder.rglob("*")) == before
    return line


WRONG = [
    ([], ["nothing to compare", "experiment=", "study=", "folders"]),
    (["trainer.max_epochs=5"], ["trainer.max_epochs=5", "nothing to compare"]),
    (["experiment=digits_standart"], ["experiment=digits_standart", "did you mean digits_standard"]),
    ([BOTH + ",nope"], ["experiment=nope", "digits_custom"]),
    (["experiment=digits_custom,digits_custom"], ["experiment=digits_custom", "2 times"]),
    (["experiment=digits_custom,"], ["experiment=digits_custom,", "commas"]),
    ([BOTH, "seeds=0"], ["seeds=0", "from 1 to 10000", "[3,7]"]),
    ([BOTH, "seeds=1.5"], ["seeds=1.5", "an integer from 1"]),
    ([BOTH, "seeds=[3,3]"], ["seeds=[3, 3]", "different"]),
    ([BOTH, "seeds=[]"], ["seeds=[]", "an integer from 1"]),
    ([BOTH, "seeds=[-1,2]"], ["seeds=-1", "0 to 4294967295"]),
    ([BOTH, "seed=3"], ["seed=3", "seeds=[3,7]"]),
    ([BOTH, "seeds=2", "seeds=3"], ["seeds=3", "seeds=2"]),
    ([BOTH, "optimizer.lr=0"], ["optimizer.lr=0", "> 0"]),
    ([BOTH, "optimizer.lrr=0.1"], ["optimizer.lrr=0.1", "there is no such key"]),
    ([BOTH, "regularizer.l1=0.1"], ["with experiment=digits_custom", "regularizer.l1=0.1", "there is no such key"]),
    ([BOTH, "regularizer=l1,l2"], ["regularizer=l1,l2", "train.py -m"]),
    ([BOTH, "trainer.devices=2", "data.reshuffle=true"], ["trainer.devices=2", "one device"]),
    ([BOTH, "data=image_folder", "data.path=nowhere"], ["data"]),
    ([BOTH, "resume=x"], ["resume=x", "from the start"]),
    ([BOTH, "hydra.run.dir=x"], ["hydra.run.dir=x", "out=FOLDER"]),
    ([BOTH, "metrics=test.acuracy"], ["metrics=test.acuracy", "did you mean test.accuracy"]),
    ([BOTH, "metrics="], ["metrics=", "name"]),
    ([BOTH, "out=file"], ["out=file", "folder"]),
    ([BOTH, "-m"], ["-m", "no such flag"]),
    (["study=digit"], ["study=digit", "did you mean digits"]),
    (["study=digits", BOTH], ["study=digits", "give one of them"]),
    (["nowhere"], ["nowhere", "no such folder"]),
    (["runs/regularizer=l1"], ["runs/regularizer=l1", "no such folder"]),
    (["empty"], ["empty", "no results.json"]),
    (["empty", "seeds=3"], ["seeds=3", "empty"]),
    (["broken"], ["broken/results.json", "damaged", "train that run again"]),
    (["unknown"], ["unknown", ".hydra/config.yaml"]),
    (["failed"], ["no completed run", "failed", "the loss became NaN"]),
    (["good", "metrics=test_mc.nll"], ["metrics=test_mc.nll", "no run has it", "test.accuracy"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    good = {"status": "completed", "seed": 1, "test": {"accuracy": 0.9}, "overrides": []}
    contents = {
        "broken": '{"status": "comp',
        "unknown": json.dumps(good),
        "failed": json.dumps({"status": "failed", "reason": "the loss became NaN", "seed": 1}),
        "good": json.dumps(good),
    }
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, content in contents.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "results.json").write_text(content)
    (tmp_path / "good/.hydra/config.yaml").write_text("seed: 1\n")
    return tmp_path


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(map(str, value)) or "nothing")
def test_the_error_names_key_value_and_remedy(arguments: list[str], words: list[str], folder: Path) -> None:
    line = refused(arguments, folder)
    for word in words:
        assert word in line


def test_train_py_names_the_command_for_studies(tmp_path: Path) -> None:
    assert "regtorch-compare study=digits" in refusal("train.py", ["study=digits"], tmp_path)
    done = answered("train.py", ["--help"], tmp_path)
    assert "regtorch-compare" in done.stdout
    assert "\n  study " not in done.stdout
