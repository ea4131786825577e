"""All schedules: independent formula, end values and settings. A new schedule needs one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regtorch import Schedule, available, create
from regtorch.errors import SettingError

CONF = Path(__file__).parents[2] / "conf" / "schedule"
FACTORS = st.floats(0, 5)
HUNDREDTHS = st.integers(1, 100).map(lambda hundredths: hundredths / 100)


def exact(number: float) -> Fraction:
    """The exact value of a decimal number, 3/10 for 0.3."""
    return Fraction(str(number))


@dataclass(frozen=True)
class Case:
    """A schedule and its expected behavior."""

    name: str
    #: (progress, as a fraction; **settings) -> factor, written differently from the code
    formula: Callable[..., float]
    #: progress -> factor with the default settings
    values: Mapping[float, float]
    #: setting -> its allowed values
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: settings -> 1: never decreases, -1: never increases
    direction: Callable[..., int] = lambda **settings: 1
    #: setting -> an invalid value and the message
    bad: Mapping[str, tuple[float, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("constant", formula=lambda progress: 1.0, values={0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
    Case(
        "linear_warmup",
        formula=lambda progress, start, warmup_fraction: (
            float(np.interp(float(progress), [0.0, warmup_fraction], [start, 1.0])) if warmup_fraction else 1.0
        ),
        values={0.0: 0.0, 0.05: 0.5, 0.1: 1.0, 1.0: 1.0},
        settings={"start": FACTORS, "warmup_fraction": st.just(0.0) | HUNDREDTHS},
        direction=lambda start, **others: 1 if start <= 1 else -1,
        bad={
            "start": (-0.1, "start=-0.1 is not allowed: it must be a finite number >= 0"),
            "warmup_fraction": (1.5, "warmup_fraction=1.5 is not allowed: it must be a number from 0 to 1"),
        },
    ),
    Case(
        "cosine",
        formula=lambda progress, start, end: end + (start - end) * np.cos(np.pi * float(progress) / 2) ** 2,
        values={0.0: 1.0, 0.5: 0.5, 1.0: 0.0},
        settings={"start": FACTORS, "end": FACTORS},
        direction=lambda start, end: 1 if start <= end else -1,
        bad={
            "start": (float("inf"), "start=inf is not allowed: it must be a finite number >= 0"),
            "end": (-1.0, "end=-1.0 is not allowed: it must be a finite number >= 0"),
        },
    ),
    Case(
        "step",
        formula=lambda progress, decay, every_fraction: decay ** (progress // exact(every_fraction)),
        values={0.0: 1.0, 0.249: 1.0, 0.25: 0.5, 0.5: 0.25, 0.75: 0.125, 0.999: 0.125, 1.0: 0.0625},
        settings={"decay": HUNDREDTHS, "every_fraction": HUNDREDTHS},
        direction=lambda **settings: -1,
        bad={
            "decay": (0.0, "decay=0.0 is not allowed: it must be a number above 0, at most 1"),
            "every_fraction": (0.0, "every_fraction=0.0 is not allowed: it must be a number above 0, at most 1"),
        },
    ),
]
every_schedule = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_schedule_has_a_row():
    assert [case.name for case in sorted(CASES, key=str)] == available("schedule")


@every_schedule
@given(data=st.data(), steps=st.integers(1, 1000))
def test_factors_follow_the_formula(case, data, steps):
    settings = data.draw(st.fixed_dictionaries(dict(case.settings)))
    taken = data.draw(st.integers(0, steps))
    factor = create("schedule", case.name, **settings).factor(taken / steps)
    assert isinstance(factor, float)
    assert factor == pytest.approx(case.formula(Fraction(taken, steps), **settings), rel=1e-9, abs=1e-12)


@every_schedule
@given(data=st.data(), progress=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_factors_are_monotonic(case, data, progress):
    settings = data.draw(st.fixed_dictionaries(dict(case.settings)))
    before, after = map(create("schedule", case.name, **settings).factor, progress)
    assert (after - before) * case.direction(**settings) >= -1e-12


@every_schedule
def test_the_defaults_at_the_ends_and_between(case):
    schedule = create("schedule", case.name)
    for progress, factor in case.values.items():
        exactly = factor if progress in (0.0, 1.0) else pytest.approx(factor, abs=1e-12)
        assert schedule.factor(progress) == exactly, progress


def test_step_drops_on_time_despite_binary_rounding():
    for hundredths in range(1, 101):
        schedule = create("schedule", "step", decay=0.5, every_fraction=hundredths / 100)
        for taken in range(101):
            assert schedule.factor(taken / 100) == 0.5 ** (taken // hundredths)


@given(start=FACTORS, end=FACTORS)
def test_cosine_is_exact_at_both_ends(start, end):
    schedule = create("schedule", "cosine", start=start, end=end)
    assert (schedule.factor(0.0), schedule.factor(1.0)) == (start, end)


@every_schedule
@given(data=st.data())
def test_round_trip(case, data):
    node = {"name": case.name, **data.draw(st.fixed_dictionaries(dict(case.settings)))}
    schedule = create("schedule", **node)
    assert schedule.to_config() == node
    assert all(f"{key}={node[key]!r}" in repr(schedule) for key in case.settings)


@every_schedule
def test_the_configuration_holds_the_defaults(case):
    node = yaml.safe_load((CONF / f"{case.name}.yaml").read_text())
    assert set(node) == {"name", *case.settings}
    assert create("schedule", **node).to_config() == create("schedule", case.name).to_config()


@every_schedule
def test_bad_settings(case):
    assert set(case.bad) == set(case.settings)
    for key, (value, message) in case.bad.items():
        with pytest.raises(SettingError) as error:
            create("schedule", case.name, **{key: value})
        assert str(error.value) == message
    with pytest.raises(SettingError, match=f"typo=1: schedule {case.name} has no such setting; it has: "):
        create("schedule", case.name, typo=1)


def test_a_schedule_without_factor_is_an_error():
    class Unfinished(Schedule):
        pass

    with pytest.raises(TypeError, match=r"Unfinished must define factor\(progress\)"):
        Unfinished().factor(0.0)
