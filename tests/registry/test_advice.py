"""Advice is given on known-bad combinations, and not on good ones."""

from __future__ import annotations

import pytest

from regtorch.config.compose import compose
from regtorch.registry.advice import ADVICE, advise, advise_against

BAD = [
    (["dropout=alpha"], "alpha dropout"),
    (["activation=selu"], "LeCun"),
    (["activation=selu", "initializer=lecun_normal", "dropout=standard"], "self-normalization"),
    (["dropout=standard", "model.batch_norm=after_dropout"], "batch normalization after dropout"),
    (["regularizer=l2", "model.batch_norm=before", "optimizer=sgd"], "effective learning rate"),
    (["regularizer=l2"], "decay use adamw"),
    (["regularizer=l2", "optimizer=sgd", "optimizer.weight_decay=0.1"], "both the L2 penalty"),
    (["regularizer=l1"], "soft_threshold"),
    (["dropout=spatial2d"], "one pixel"),
    (["dropout=concrete"], "learned probability"),
    (["dropout@input_dropout=concrete", "regularizer=l2"], "learned probability"),
    (["initializer=zeros"], "stay equal"),
    (["+trainer.fast_dev_run=true"], "a test run"),
    (["+trainer.overfit_batches=2"], "a test run"),
    (["+trainer.limit_train_batches=1"], "a test run"),
    (["+trainer.limit_test_batches=0.5"], "a test run"),
]


@pytest.mark.parametrize(
    ("overrides", "words"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_bad_combination_is_reported_with_its_source(overrides: list[str], words: str) -> None:
    (found,) = [advice for advice in advise(compose(overrides)) if words in advice["text"]]
    assert found["source"][-4:].isdigit() or "section" in found["source"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["+trainer.fast_dev_run=false", "+trainer.limit_train_batches=1.0", "+trainer.limit_test_batches=null"],
        ["activation=selu", "initializer=lecun_normal", "dropout=alpha"],
        ["dropout=standard", "model.batch_norm=before"],
        ["regularizer=l2", "optimizer=momentum"],
        ["model=cnn", "dropout=spatial2d"],
        ["dropout=concrete", "regularizer=concrete"],
        ["dropout=concrete", "regularizer=several", "regularizer.rules=[{name: l1}, {name: concrete}]"],
    ],
)
def test_a_good_combination_has_no_advice(overrides: list[str]) -> None:
    assert advise(compose(overrides)) == []


def test_every_advice_has_a_case() -> None:
    given = {advice["text"] for overrides, _ in BAD for advice in advise(compose(overrides))}
    assert given == {advice.text for advice in ADVICE}


def test_advice_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("regtorch.registry.advice._plugin_advice", [])
    advise_against(lambda c: c["constraint"]["no_such_key"] > 0, "a box", "somebody")
    assert advise(compose([])) == []
    assert "advice by somebody ('a box') is left out: KeyError: 'no_such_key'" in caplog.text
