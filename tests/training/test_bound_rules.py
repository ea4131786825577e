"""The log and the results name the rules and the weights that they are bound to."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.training.bound_rules import bound_rules, by_weight, summary
from regtorch.training.build import make_module
from regtorch.training.run import run

RULES = [
    "regularizer=[l2,orthogonal]", "regularizer.where=kernel:hidden.*", "regularizer@bias_regularizer=l1",
    "regularizer@activity_regularizer=l2", "constraint=max_norm", "constraint@bias_constraint=non_neg",
]  # fmt: skip
SETTINGS = ["data=synthetic", "data.rows=60", "trainer=cpu", "trainer.max_epochs=1", "mc=none", "logger=csv"]


def test_every_place_is_named_with_its_weights() -> None:
    config = compose(RULES)
    module = make_module(config, (20,), 4)
    found = dict(bound_rules(config, module.penalties, module.constraints))
    assert found == {
        "regularizer=l2 (l2=0.01)": ["hidden.0.linear.weight"],
        "regularizer=orthogonal (strength=0.01, mode=rows)": ["hidden.0.linear.weight"],
        "bias_regularizer=l1 (l1=0.01)": ["hidden.0.linear.bias", "head.bias"],
        "activity_regularizer=activity (regularizer=l2 l2=0.01)": ["hidden.0", "head"],
        "constraint=max_norm (max_value=2.0)": ["hidden.0.linear.weight", "head.weight"],
        "bias_constraint=non_neg": ["hidden.0.linear.bias", "head.bias"],
    }
    assert by_weight([*found.items()])["head.bias"] == ["bias_regularizer=l1 (l1=0.01)", "bias_constraint=non_neg"]


def test_a_run_records_its_rules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = compose([*SETTINGS, "regularizer=l2", "regularizer.where=kernel:hidden.*", "trainer.strategy=ddp"])
    with caplog.at_level(logging.INFO, "regtorch"):
        results = run(config, dataset(config), tmp_path)
    assert results["rules"] == {"hidden.0.linear.weight": ["regularizer=l2 (l2=0.01)"]}
    message = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "regularizer=l2 (l2=0.01) on hidden.0.linear.weight") in message
    assert [text for level, text in message if level == "WARNING"] == [
        "trainer.strategy=ddp has no effect with one process; set their number with trainer.devices"
    ]
    assert [entry["source"] for entry in results["advice"]][-1] == "of this run"


def test_a_line_stays_short_for_a_model_of_many_layers() -> None:
    line = summary("regularizer=l2 (l2=0.01)", [f"encoder.layers.{index}.linear.weight" for index in range(200)])
    assert len(line) < 500
    assert line.endswith("more (listed in results.json)")
