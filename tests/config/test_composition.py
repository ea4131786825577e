"""Processing of a command line before Hydra sees it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regtorch.config.command_line import implied_overrides
from regtorch.config.compose import compose, points
from regtorch.errors import SettingError
from tests.testers.command import ended

ROOT = Path(__file__).parents[2]


def test_a_sweeps_points_use_every_value_once() -> None:
    assert list(points(["a=1,2,3", "b=x", "c=u,v"])) == [
        ["a=1", "b=x", "c=u"],
        ["a=2", "b=x", "c=u"],
        ["a=3", "b=x", "c=u"],
        ["a=1", "b=x", "c=v"],
    ]


@pytest.mark.parametrize(
    ("overrides", "implied"),
    [
        (["dropout.drop_prob=0.2"], ["dropout=standard"]),
        (["dropout.keep_prob=0.8", "seed=1"], ["dropout=standard"]),
        (["input_dropout.keep_prob=0.8"], ["dropout@input_dropout=standard"]),
        (["dropout=alpha", "dropout.drop_prob=0.2"], []),
        (["dropout=none", "dropout.drop_prob=0.2"], []),
        (["experiment=digits_standard", "dropout.drop_prob=0.2"], []),
    ],
)
def test_a_probability_alone_is_standard_dropout(overrides: list[str], implied: list[str]) -> None:
    assert implied_overrides(overrides) == implied


def test_a_probability_alone_trains(tmp_path: Path) -> None:
    arguments = ["dropout.keep_prob=0.8", "trainer.max_epochs=1", "hydra.run.dir=run", "mc.samples=2"]
    done = ended(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["test_mc"] is not None
    assert results["overrides"][0] == "dropout=standard"


@settings(max_examples=30)
@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=30))
def test_any_command_line_is_composed_or_refused(text: str) -> None:
    for overrides in ([text], ["regularizer=l1", f"regularizer.l1={text}"], [f"regularizer={text}"]):
        with suppress(SettingError):
            assert "regularizer" in compose(overrides)
