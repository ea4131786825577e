"""A run's folder may be untrusted: each reader of its files works, or raises one of our errors in one line."""

from __future__ import annotations

import json
import sqlite3
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regtorch.cli.train import print_completed
from regtorch.config.compose import compose
from regtorch.config.interpolation import resolve_references, runs_resolver
from regtorch.config.trust import check_folder_overrides
from regtorch.errors import DataError, RegtorchError
from regtorch.runs import completed_run, finished_run, initial_checkpoint, resume
from regtorch.runs.checkpoint_header import read_plain_content
from regtorch.runs.earlier_overrides import earlier_overrides
from regtorch.study.curves import read_metrics
from regtorch.study.leaderboard import as_csv, read_point
from regtorch.study.results import read_run
from regtorch.sweeps import plan, successive_halving, sweep
from regtorch.sweeps.search_database import check_database
from regtorch.system.untrusted import load_json, load_yaml
from regtorch.training.build import read_checkpoint
from regtorch.training.checkpoint_metadata import checked_content
from tests.testers.mutated import ODD, mutated

_MEASURED = {"accuracy": 0.5, "loss": 1.0, "nll": 1.0, "brier": 0.5, "ece": 0.1}
RESULTS: dict[str, Any] = {
    **{"status": "completed", "seed": 1, "epochs": 2, "seconds": 1.5, "parameters": 1604, "sparsity": 0.0},
    **{"train": {"loss": 1.0}, "train_eval": _MEASURED, "val": _MEASURED, "test": _MEASURED, "test_mc": None},
    **{"overrides": ["seed=1", "model.hidden=[4]"], "advice": [], "versions": {"python": "3.11"}},
}
SWEEP = {
    "status": "completed",
    "overrides": ["seed=1,2"],
    "by": "val.accuracy",
    "halving": 3,
    "seconds": 1.0,
    "points": 2,
}
RUNGS = [{"epoch": 1, "values": {"0": 0.5, "1": None}, "kept": [0]}]
DESCRIBED: dict[str, Any] = {
    **{place: {"name": "none"} for place in ("model", "activation", "dropout", "input_dropout", "optimizer", "data")},
    **{
        "shape": [20],
        "classes": 4,
        "seed": 0,
        "epochs": 1,
        "batches": 0,
        "batches_seen": 2,
        "epoch_values": {"loss": 1.0},
    },
    **{"seconds": 1.0, "plateau": None, "steps_taken": {}, "factors": {"penalty": 1.0}, "ranks": [{"random": {}}]},
}
CHECKPOINT = {
    **{"state_dict": {}, "global_step": 2, "callbacks": {"Early": {"wait_count": 1}}, "regtorch": DESCRIBED},
    "DataModule": {"epochs": 1, "batches": 0},
}
cheaply = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def in_one_line(action: Callable[[], Any]) -> Any:
    """Return an action's result, or the message of one of our errors; any other error fails the test."""
    with suppress(RegtorchError):
        return action()
    return None


@cheaply
@given(results=mutated(RESULTS))
def test_results_json(results: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    in_one_line(lambda: read_run(tmp_path))
    (tmp_path / "0").mkdir(exist_ok=True)
    (tmp_path / "0" / "results.json").write_text(json.dumps(results))
    table = as_csv([read_point(tmp_path, 0, {"seed": "1"})], by="val.accuracy")
    assert "\x1b" not in table
    finished_run.warn_if_unfinished(tmp_path)
    config = {"resume": str(tmp_path), "trainer": {"max_epochs": 1}, "callbacks": {"patience": None}, "ckpt_path": None}
    with suppress(DataError):
        print_completed(config, read_run(tmp_path) and load_json(tmp_path / "results.json"), "x")
    out, message = capsys.readouterr()
    assert "\x1b" not in out + message
    assert max(map(len, message.splitlines()), default=0) < 1000


@cheaply
@given(content=mutated(CHECKPOINT))
def test_checkpoint(content: Any) -> None:
    def use() -> None:
        described = checked_content(content, "last.ckpt").get("regtorch", {})
        int(described.get("epochs", 0)), float(described.get("seconds", 0)), tuple(described.get("shape", ()))
        str(described)

    in_one_line(use)


@settings(cheaply, max_examples=100)
@given(data=st.data())
def test_a_checkpoint_to_resume_from(
    data: st.DataObject, composed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = {**DESCRIBED, **{key: composed[key] for key in ("model", "activation", "dropout", "optimizer", "data")}}
    content = data.draw(mutated({**CHECKPOINT, "regtorch": described}))
    config = {**composed, "resume": "run"}
    monkeypatch.setattr(
        initial_checkpoint, "described", lambda *given: checked_content(content, "last.ckpt").get("regtorch", {})
    )
    for check in ("check_resume", "check_best"):
        monkeypatch.setattr(initial_checkpoint, check, lambda *given: None)
    in_one_line(lambda: initial_checkpoint.check_checkpoint(config))
    in_one_line(lambda: completed_run._longer(checked_content(content, "last.ckpt"), config))


@pytest.mark.parametrize("reader", [read_plain_content, read_checkpoint])
@pytest.mark.parametrize(("key", "value"), [("epochs", "many"), ("shape", [-20]), ("classes", 2**63), ("model", "mlp")])
def test_both_readers_of_checkpoints_name_the_entry(
    reader: Callable[[Path], Any], key: str, value: Any, tmp_path: Path
) -> None:
    torch.save({**CHECKPOINT, "regtorch": {**DESCRIBED, key: value}}, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match=rf"last.ckpt is damaged: regtorch.{key}="):
        reader(tmp_path / "last.ckpt")


def test_deeply_nested_lists_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    nested: list[Any] = [1]
    for _ in range(60):
        nested = [nested, nested]
    torch.save(
        {**CHECKPOINT, "regtorch": {**DESCRIBED, "model": {"name": "mlp", "hidden": nested}}}, tmp_path / "x.ckpt"
    )
    with pytest.raises(DataError, match="it expands to more than"):
        read_plain_content(tmp_path / "x.ckpt")


def test_a_decompression_bomb_is_not_read(tmp_path: Path) -> None:
    """A few kilobytes expand to 64 MB when they are read."""
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(64 * 2**20))
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        read_plain_content(tmp_path / "x.ckpt")


@cheaply
@given(content=mutated(SWEEP), rungs=mutated(RUNGS))
def test_records_of_a_sweep(content: Any, rungs: Any, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    (tmp_path / "halving.json").write_text(json.dumps(rungs))
    in_one_line(lambda: plan._earlier(tmp_path))
    sweep._seconds_before(tmp_path)
    in_one_line(lambda: successive_halving._stored_decisions(tmp_path))


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return compose(["data=synthetic", "dropout=standard", "mc=none"])


@settings(cheaply, max_examples=12)
@given(data=st.data())
def test_config_yaml(data: st.DataObject, composed: dict[str, Any], tmp_path: Path) -> None:
    config = data.draw(mutated(composed))
    (tmp_path / ".hydra").mkdir(exist_ok=True)
    with suppress(yaml.YAMLError, UnicodeEncodeError):
        (tmp_path / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    in_one_line(lambda: finished_run.configuration(tmp_path))


@cheaply
@given(lines=st.lists(st.text(max_size=12) | st.sampled_from([f"seed={odd}"[:500] for odd in ODD]), max_size=4))
def test_overrides_yaml(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir(exist_ok=True)
    (tmp_path / ".hydra" / "overrides.yaml").write_text(json.dumps(lines))
    resume.has_overrides(tmp_path)
    in_one_line(lambda: earlier_overrides([f"resume={tmp_path}"]))


@cheaply
@given(
    text=st.text(max_size=80) | st.sampled_from(["epoch,x\n1", "epoch\n1,2,3\n", "epoch,epoch\n1,2\n", "a" * 200_000])
)
def test_metrics_csv(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    in_one_line(lambda: read_metrics(tmp_path))


TEN = "[x, x, x, x, x, x, x, x, x, x]"
ALIASES = f"- &a0 {TEN}\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        "a: &a [*a]",
        "[" * 100_000,
        "{a: " * 5000,
        "a: !!python/object/apply:os.system [x]",
        "a: \x00",
        "a: b: c",
    ],
)
def test_yaml_that_expands_or_runs_code_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DataError):
        load_yaml(tmp_path / "x.yaml")


def test_files_that_are_not_regular(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "absent", tmp_path / "\0"):
        with pytest.raises(DataError):
            load_json(path)
        with pytest.raises(DataError):
            load_yaml(path)


CHAIN = {f"a{n}": f"${{a{n - 1}}}${{a{n - 1}}}" if n else "x" for n in range(40)}


@pytest.mark.parametrize(
    "config", [CHAIN, {"a": "${a}"}, {"a": "${b}", "b": "${a}"}, {"a": "${absent}"}, {"a": "${x.y}"}]
)
def test_chains_and_cycles_of_interpolations_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        resolve_references(config)


def test_references_within_a_configuration_are_resolved_and_resolvers_are_not_run() -> None:
    config = {"seed": 3, "data": {"split_seed": "${seed}", "path": "a-${data.split_seed}"}, "x": ["${oc.env:HOME}"]}
    assert resolve_references(config) == {"seed": 3, "data": {"split_seed": 3, "path": "a-3"}, "x": ["${oc.env:HOME}"]}


RESOLVERS = [
    *("+a=${oc.env:SECRET}", "+a='${oc.env:SECRET}'", "+a={x: '${oc.env:SECRET}'}", "+a=[1,'x${oc.decode:SECRET}']"),
    *(r"+a=$\{oc.env\:SECRET\}", r"+a='\${oc.env:SECRET}'", "+a=${oc.${b}:SECRET}", "seed='${oc.env:SECRET}','b'"),
    *(
        "seed=choice('${oc.env:SECRET}',b)",
        "+a=${now:%Y}",
        "+a=${hydra:job.name}",
        "hydra.launcher.partition=${oc.env:SECRET}",
    ),
    *("hparams_search.storage=${oc.env:SECRET}", "+a='x ${ oc.env:SECRET }'", "+a@${oc.env:SECRET}=b"),
]


@pytest.mark.parametrize("override", RESOLVERS)
def test_no_resolver_of_a_folder_is_evaluated(override: str) -> None:
    with pytest.raises(DataError, match=r"stored there is not allowed|cannot be read"):
        check_folder_overrides([override], "resume=theirs")


@pytest.mark.parametrize("name", [".lock", "train.log"])
def test_a_link_in_place_of_a_file_to_be_written_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("[seed=1]")
    (tmp_path / "run" / "sweep.json").write_text(json.dumps(SWEEP))
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match=f"{name} there is a link"):
        earlier_overrides([f"resume={tmp_path}/run"])
    with pytest.raises(DataError, match=f"{name} there is a link"):
        plan._earlier(tmp_path / "run")


def test_references_and_paths_of_a_folder_are_accepted() -> None:
    check_folder_overrides(
        ["seed=1", "data.split_seed=${seed}", "data.path='a$b/c.npz'", "~scheduler", "x=null"], "resume=mine"
    )
    assert not runs_resolver("a$b")


@pytest.mark.parametrize("overrides", [["a=[" + "x," * 2000 + "]"], ["x=" + "y" * 300_000], ["a=" + "[" * 2000]])
def test_overrides_that_take_long_to_parse_are_refused(overrides: list[str]) -> None:
    with pytest.raises(DataError, match="stored there are too long"):
        check_folder_overrides(overrides, "resume=theirs")


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE VIEW trials AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"],
        ["CREATE TABLE trials (x)", "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END"],
        None,
    ],
)
def test_a_database_with_code_in_it_is_not_opened(statements: list[str] | None, tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    if statements is None:
        path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
    else:
        with closing(sqlite3.connect(path)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()
    with pytest.raises(DataError, match=r"search\.db is"):
        check_database(path)


def test_a_database_of_a_search_is_accepted(tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(storage=f"sqlite:///{tmp_path}/search.db")
        study.add_trial(optuna.trial.create_trial(value=1.0))
    check_database(tmp_path / "search.db")
    check_database(tmp_path / "absent.db")


def test_results_of_older_versions_may_lack_entries(tmp_path: Path) -> None:
    """Older versions wrote fewer entries; the existing ones are shown."""
    from regtorch.cli.train import show

    show({"status": "completed", "test": {"nll": 1.0}}, tmp_path)
