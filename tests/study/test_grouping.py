"""Runs of the same recipe are grouped; labels distinguish recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtorch.errors import DataError
from regtorch.study.grouping import group_runs
from regtorch.study.results import Run


def run(name: str, seed: int, config: dict, *overrides: str, status: str = "completed") -> Run:
    found = Run(
        Path(name), status, "the loss became NaN" * (status == "failed"), seed, overrides, {"test.accuracy": 0.9}
    )
    found.__dict__["recipe"] = config  # as if read from its folder
    return found


def test_a_sweep_is_grouped_by_what_differs_but_the_seed() -> None:
    runs = [
        run(
            f"{name}/{seed}", seed, {"regularizer": name}, f"regularizer={name}", f"seed={seed}", "trainer.max_epochs=5"
        )
        for name in ("none", "l1")
        for seed in (1, 2)
    ]
    groups, notes = group_runs(runs)
    assert {label: list(group) for label, group in groups.items()} == {
        "regularizer=none": [1, 2],
        "regularizer=l1": [1, 2],
    }
    assert notes == []


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ((), ("dropout=alpha",), ["default", "dropout=alpha"]),
        (("experiment=a",), ("experiment=b", "+trainer.x=1"), ["a", "b +trainer.x=1"]),
        (("seed=1",), ("seed=2", "resume=x", "logger.csv=false"), ["default x=1", "default x=2"]),
        (("experiment=a",), ("experiment=a",), ["default x=1", "default x=2"]),  # the file was edited in between
    ],
)
def test_labels_consist_of_overrides(first: tuple, second: tuple, labels: list[str]) -> None:
    groups, _ = group_runs(
        [run("1", 1, {"x": 1, "y": {"z": 0}}, *first), run("2", 1, {"x": 2, "y": {"z": 0}}, *second)]
    )
    assert list(groups) == labels


def test_a_single_group_keeps_its_overrides() -> None:
    groups, _ = group_runs([run("1", 1, {}, "experiment=a", "optimizer.lr=0.1", "seed=1")])
    assert list(groups) == ["a optimizer.lr=0.1"]


def test_incomplete_and_duplicate_runs_are_left_out_and_named() -> None:
    runs = [run("one", 1, {}), run("two", 2, {}, status="failed"), run("three", 1, {})]
    groups, notes = group_runs(runs)
    assert [found.folder.name for group in groups.values() for found in group.values()] == ["three"]
    assert notes == ["left out: two (failed: the loss became NaN)", "left out: one (the same recipe and seed as three)"]


def test_nothing_completed() -> None:
    with pytest.raises(DataError, match="no completed run among them; left out: two"):
        group_runs([run("two", 2, {}, status="interrupted")])
    with pytest.raises(DataError, match="no run to compare"):
        group_runs([])
