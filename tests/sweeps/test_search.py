"""Searches with Optuna: results, pruning, failures and resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
import pytest

from regtorch.config.search_space import Dimension, dimension
from regtorch.errors import SettingError
from regtorch.sweeps.optuna_search import _start_trial, pareto_front
from regtorch.sweeps.plan import plan
from tests.sweeps.test_sweep import SMALL, leaderboard, swept
from tests.testers.command import ended, running

SEARCH = ["hparams_search=custom", "hparams_search.random_trials=3", "hparams_search.trials=9", *SMALL]
SPACE = ["optimizer.lr=tag(log, interval(1e-4, 0.3))", "model.hidden=choice([8], [32])", "trainer.max_epochs=5"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    done = swept(folder, *SEARCH, *SPACE, "hydra.sweep.dir=search")
    assert done.returncode == 0, done.stderr
    return folder / "search"


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'search.db'}").trials


def test_each_trial_is_a_run_with_its_measured_value(found: Path) -> None:
    rows = leaderboard(found)
    kept = trials(found)
    assert len(rows) == len(kept) == 9
    assert {trial.state.name for trial in kept} == {"COMPLETE", "PRUNED"}
    for row in rows:
        trial = kept[int(row["point"])]
        assert float(row["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert row["status"] == {"COMPLETE": "completed", "PRUNED": "pruned"}[trial.state.name]
        results = json.loads((found / row["point"] / "results.json").read_text())
        if row["status"] == "completed":
            assert trial.value == results["val"]["accuracy"] == float(row["val.accuracy"])
            assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
        else:
            assert results["epochs"] == max(trial.intermediate_values) < 5
            assert "worse than the median" in row["reason"]
    best = json.loads((found / "sweep.json").read_text())["best"]
    assert best["val.accuracy"] == max(trial.value for trial in kept if trial.value is not None)


def test_a_killed_search_is_resumed_with_the_same_result(found: Path, tmp_path: Path) -> None:
    with running(tmp_path, "-m", *SEARCH, *SPACE, "hydra.sweep.dir=search") as command:
        command.until((tmp_path / "search" / "4" / "checkpoints" / "last.ckpt").exists)
        command.kill()
        assert command.status() == -signal.SIGKILL
    before = [trial.values for trial in trials(tmp_path / "search")][:4]
    assert swept(tmp_path, "sweep.resume=search").returncode == 0
    assert [trial.values for trial in trials(tmp_path / "search")][:4] == before
    assert (tmp_path / "search" / "leaderboard.csv").read_text() == (found / "leaderboard.csv").read_text()


def test_a_search_is_resumed_with_more_trials_even_in_a_moved_folder(found: Path, tmp_path: Path) -> None:
    shutil.copytree(found, tmp_path / "moved, 100%?")
    done = swept(tmp_path, "sweep.resume='moved, 100%?'", "hparams_search.trials=10")
    assert done.returncode == 0, done.stderr
    rows, before = ({row["point"]: row for row in leaderboard(f)} for f in (tmp_path / "moved, 100%?", found))
    assert len(rows) == 10
    assert all(rows[point]["val.accuracy"] == row["val.accuracy"] for point, row in before.items())


@pytest.fixture(scope="module")
def in_batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    search = [*SEARCH, *SPACE, "hparams_search.parallel=2", "hparams_search.trials=6", "trainer.max_epochs=3"]
    assert swept(folder, *search, "hydra.sweep.dir=search").returncode == 0
    return folder / "search"


@pytest.mark.parametrize("begun", [(3,), (2, 3)], ids=["both have ended", "one was still running"])
def test_an_interrupted_batch_is_reported_completely_before_more_trials_are_sampled(
    begun: tuple[int, ...], in_batches: Path, tmp_path: Path
) -> None:
    """A search that was killed while two trials ran, or before their results were reported, samples the same trials."""
    shutil.copytree(in_batches, tmp_path / "search")
    complete = (tmp_path / "search" / "leaderboard.csv").read_text()
    with closing(sqlite3.connect(tmp_path / "search" / "search.db")) as database, database:
        gone = "trial_id IN (SELECT trial_id FROM trials WHERE number >= 4)"
        values = f"trial_id IN (SELECT trial_id FROM trials WHERE number >= {begun[0]})"
        for table in ("trial_params", "trial_user_attributes", "trial_intermediate_values"):
            database.execute(f"DELETE FROM {table} WHERE {gone}")
        database.execute(f"DELETE FROM trial_values WHERE {values}")
        database.execute("DELETE FROM trials WHERE number >= 4")
        database.execute(f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number >= {begun[0]}")
    if len(begun) == 2:
        (tmp_path / "search" / "2" / "results.json").unlink()
        (tmp_path / "search" / "2" / "checkpoints" / "last.ckpt").unlink()
    for number in (4, 5):
        shutil.rmtree(tmp_path / "search" / str(number))
    assert swept(tmp_path, "sweep.resume=search").returncode == 0
    assert (tmp_path / "search" / "leaderboard.csv").read_text() == complete


def test_a_search_does_not_shrink(found: Path) -> None:
    before = (found / "sweep.json").read_text()
    done = swept(found.parent, "sweep.resume=search", "hparams_search.trials=3")
    assert (done.returncode, done.stderr) == (
        2,
        "error: hparams_search.trials=3 is not allowed: the search has 9 trials already\n",
    )
    assert (found / "sweep.json").read_text() == before


def test_a_trial_can_be_run_again_alone(found: Path) -> None:
    best = str(json.loads((found / "sweep.json").read_text())["best"]["point"])
    done = ended(found.parent, f"rerun=search/{best}", "hydra.run.dir=again")
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((f / "results.json").read_text()) for f in (found / best, found.parent / "again"))
    assert [one[part] for part in ("train", "val", "test")] == [other[part] for part in ("train", "val", "test")]


def _set_environment(name: str, value: str) -> None:
    os.environ[name] = value


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_password_from_the_environment_is_not_written(launcher: str, tmp_path: Path) -> None:
    """A database's URL given as ``${oc.env:NAME}`` is stored unresolved; messages hide the password."""
    space = ["hparams_search=custom", "optimizer.lr=interval(0.001, 0.1)", "hparams_search.trials=1", *SMALL]
    options = ["-m", *space, "hparams_search.storage=${oc.env:TRIALS}", f"hydra/launcher={launcher}"]

    def with_trials(url: str, folder: str) -> subprocess.CompletedProcess[str]:
        first = partial(_set_environment, "TRIALS", url)
        with running(tmp_path, *options, f"hydra.sweep.dir={folder}", first=first) as command:
            status = command.status()
        return subprocess.CompletedProcess(options, status, command.stdout, command.stderr)

    done = with_trials(f"sqlite:///{tmp_path / 'hidden.db'}", "search")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "search" / "0" / "results.json").is_file()
    assert not [path for path in tmp_path.glob("search/**/*") if path.is_file() and b"hidden.db" in path.read_bytes()]
    done = with_trials("nodatabase://me:secret@localhost/trials", "other")
    assert done.returncode == 2
    assert (
        "hparams_search.storage=nodatabase://me:***@localhost/trials: the trials cannot be stored there" in done.stderr
    )
    assert "secret" not in done.stdout + done.stderr


def test_a_given_key_is_not_searched() -> None:
    searched = plan(["hparams_search=regularisation", "optimizer.lr=0.003"]).search
    assert searched is not None
    assert {"optimizer.lr", "regularizer.l1"} & {d.key for d in searched.space} == {"regularizer.l1"}


def test_a_trial_is_stored_atomically_and_equals_optuna_s(tmp_path: Path) -> None:
    """A process that is killed while it samples a trial has stored either nothing or the complete trial."""
    searched = plan(["hparams_search=regularisation"]).search
    assert searched is not None
    study = optuna.create_study(direction="maximize")
    kept = [_start_trial(study, searched, "ours", number) for number in range(2)]
    assert [trial.number for trial in kept] == [0, 1]
    assert all(set(trial.params) == {d.key for d in searched.space} for trial in kept)
    assert all(trial.user_attrs == {"sweep": "ours"} and trial.state.name == "RUNNING" for trial in kept)
    assert kept[0].params != kept[1].params
    again = optuna.create_study(direction="maximize")
    assert _start_trial(again, searched, "ours", 0).params == kept[0].params


def test_a_non_finite_loss_fails_the_trial_and_several_objectives_have_a_front(tmp_path: Path) -> None:
    space = ["optimizer.lr=choice(1e30, 0.01)", "constraint.strength=interval(0, 1)"]
    options = ["hparams_search=sparsity", "hparams_search.trials=6", "hparams_search.parallel=2", *SMALL]
    done = swept(tmp_path, *options, *space, "hydra.sweep.dir=search")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    kept = trials(tmp_path / "search")
    assert {trial.state.name for trial in kept} == {"COMPLETE", "FAIL"}
    assert {trial.params["optimizer.lr"] for trial in kept if trial.state.name == "FAIL"} == {"1e+30"}
    front = json.loads((tmp_path / "search" / "sweep.json").read_text())["pareto_front"]
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search' / 'search.db'}")
    assert sorted(front) == sorted(trial.number for trial in study.best_trials)


def test_the_front_has_the_non_dominated_points() -> None:
    points = [(0, (0.9, 0.1)), (1, (0.9, 0.2)), (2, (0.5, 0.2)), (3, (0.9, 0.2))]
    assert pareto_front(points, higher_is_better=[True, True]) == [1, 3]
    assert pareto_front(points, higher_is_better=[True, False]) == [0]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a.b=interval(0, 1)", Dimension("a.b", (), 0.0, 1.0)),
        ("a=tag(log, interval(0.1, 1))", Dimension("a", (), 0.1, 1.0, log=True)),
        ("a=range(1, 5)", Dimension("a", (), 1, 4, integer=True)),
        ("a=range(0, 1, 0.5)", Dimension("a", ("0.0", "0.5"))),
        ("a=l1,l2", Dimension("a", ("l1", "l2"))),
    ],
)
def test_spaces_use_hydra_s_syntax_for_sweeps(text: str, read: Dimension) -> None:
    assert dimension(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "a=range(5, 2)",
        "a=tag(log, range(0, 5))",
        "a=glob(l*)",
        "a=shuffle(1, 2)",
        "a=3",
        "a=interval(1, 0)",
        "a=tag(log, interval(0, 1))",
        "a=choice(1)",
        "a=(",
        "a",
    ],
)
def test_an_invalid_space_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must be KEY=interval"):
        dimension(text)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["hparams_search=l1_12"], "hparams_search=l1_12: there is no such option; did you mean l1_l2"),
        (["hparams_search=custom"], "hparams_search.space=[] is not allowed"),
        (["hparams_search=l1_l2", "hparams_search.trials=0"], "hparams_search.trials=0 is not allowed"),
        (["hparams_search=l1_l2", "hparams_search.objectives=[test.accuracy]"], "hparams_search.objectives="),
        (["hparams_search=l1_l2", "seed=1,2"], "seed is not allowed in a search"),
        (["hparams_search=l1_l2", "sweep.halving=3"], "sweep.halving is allowed only for grids"),
        (
            ["hparams_search=l1_l2,dropout"],
            "hparams_search=l1_l2,dropout is not allowed: a sweep has one search",
        ),
        (["optimizer.lr=interval(0, 1)"], "optimizer.lr=interval(0, 1) is not allowed in a grid"),
        (["hparams_search=custom", "dropout.p=interval(0, 1)"], "dropout.p="),
        (["hparams_search=custom", "data.batch_size=interval(0, 9)"], "data.batch_size=0.0 is not allowed"),
        (["hparams_search=l1_l2", "hparams_search.storage=nowhere"], "hparams_search.storage=nowhere: the trials"),
        (["hparams_search=l1_l2", "optimizer.lr=tag(lgo, interval(0.1, 1))"], "hparams_search: optimizer.lr=tag(lgo"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], expected: str, tmp_path: Path) -> None:
    done = swept(tmp_path, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {expected}"), done.stderr
    assert not list(tmp_path.glob("multirun/*/*"))
    assert "Traceback" not in done.stderr


def test_sweeps_share_a_search(tmp_path: Path) -> None:
    """Each sweep recognizes its own trials, and a different search is refused."""
    shared = [f"hparams_search.storage=sqlite:///{tmp_path / 'shared.db'}", "hparams_search.study=ours", *SMALL]
    lr = "optimizer.lr=interval(0.001, 0.1)"
    search = ["hparams_search=custom", lr, *shared]
    assert swept(tmp_path, *search, "hparams_search.trials=2", "hydra.sweep.dir=one").returncode == 0
    done = swept(tmp_path, *search, "hparams_search.trials=3", "hydra.sweep.dir=other")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 points completed, 0 failed" in done.stdout
    assert "2 more trials of this search are in other sweeps' folders" in done.stdout
    assert [row["point"] for row in leaderboard(tmp_path / "other")] == ["2"]
    (tmp_path / "other").rename(tmp_path / "moved")
    done = swept(tmp_path, "sweep.resume=moved", "hparams_search.trials=4")
    assert done.returncode == 0, done.stderr
    assert {row["point"] for row in leaderboard(tmp_path / "moved")} == {"2", "3"}
    for other, expected in (
        (
            [lr, "optimizer=sgd"],
            "ours is not allowed: it is a search with optimizer.lr=interval(0.001, 0.1) data.batch_size=256 ",
        ),
        (
            ["optimizer.lr=interval(5, 6)"],
            "ours is not allowed: it is a search with optimizer.lr=interval(0.001, 0.1) ",
        ),
        (["model.hidden=choice([8], [9])"], "ours is not allowed: it searches optimizer.lr; take another name"),
        (
            [lr, "hparams_search.objectives=[val.accuracy,val.nll]"],
            "ours is not allowed: it is a search with other objectives (1)",
        ),
    ):
        done = swept(tmp_path, "hparams_search=custom", *shared, *other, "hydra.sweep.dir=third")
        assert done.returncode == 2
        assert expected in done.stderr
        assert not (tmp_path / "third").exists()


def test_a_search_needs_multirun(tmp_path: Path) -> None:
    done = ended(tmp_path, "hparams_search=l1_l2")
    assert done.returncode == 2
    assert done.stderr == "error: hparams_search=l1_l2 is a search over several runs: add -m\n"
