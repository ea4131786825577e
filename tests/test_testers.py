"""The shared testers: they do not name our components, and fields of a case describe deviations."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import regtorch
from regtorch.errors import SettingError
from regtorch.registry import components
from regtorch.testing import ConstraintCase, ConstraintTester, DropoutCase, DropoutTester, WeightsAsUnits

SOURCES = sorted((Path(__file__).parents[1] / "regtorch" / "testing").glob("*.py"))
HALF, DOUBLE = torch.bfloat16, torch.float64


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_testers_do_not_name_our_components(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    words = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    tested = [
        found for found in components._builtin().values() if found.kind in ("regularizer", "constraint", "dropout")
    ]
    for component in tested:
        assert component.name not in words, component
        assert not re.search(rf"\b{component.attribute}\b", text), component
        # a name of several words must not occur, not even as a prefix
        assert "_" not in component.name or component.name not in text, component


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = dict(components._registered)
    yield
    components._registered.clear()
    components._registered.update(before)


def constraint(forward: Callable[[Any, Tensor], Tensor]) -> None:
    regtorch.register("constraint", "theirs")(type("Theirs", (regtorch.Constraint,), {"forward": forward}))


def case(**fields: Any) -> ConstraintCase:
    return ConstraintCase("theirs", {}, formula=lambda w: w, inside=None, **fields)


def test_a_step_towards_a_set_is_not_a_projection() -> None:
    constraint(lambda self, w: 0.75 * w)
    ConstraintTester().test_projections_are_idempotent(case(projection=False))
    with pytest.raises(AssertionError):
        ConstraintTester().test_projections_are_idempotent(case())
    with pytest.raises(pytest.skip.Exception, match="changes every weight"):
        ConstraintTester().test_inside_stays_bit_for_bit(case())


def test_a_projection_declared_as_none_fails() -> None:
    constraint(lambda self, w: w.clamp(-0.1, 0.1))
    ConstraintTester().test_projections_are_idempotent(case())
    with pytest.raises(AssertionError, match="remove projection=False"):
        ConstraintTester().test_projections_are_idempotent(case(projection=False))


def dropout(
    name: str, base: type, forward: Callable[[Any, Tensor], Tensor] | None = None, **fields: Any
) -> DropoutCase:
    members = {} if forward is None else {"forward": forward}
    regtorch.register("dropout", name)(type("Theirs", (base,), members))
    return DropoutCase(name, **fields)


def draws_in_input_precision(self: Any, x: Tensor) -> Tensor:
    shape = (1, *x.shape[1:]) if self.shared else x.shape
    noise = torch.randn(shape, dtype=x.dtype, generator=self.generator)
    return x + self.drop_prob * noise if self.training else x


@pytest.mark.parametrize(("depends", "skipped"), [(False, ()), ((DOUBLE,), (DOUBLE,)), (True, (HALF, DOUBLE))])
def test_noise_of_another_precision(depends: Any, skipped: tuple[torch.dtype, ...]) -> None:
    found = dropout("theirs", regtorch.ProbabilityDropout, draws_in_input_precision, noise_depends_on_dtype=depends)
    for dtype in (HALF, DOUBLE):
        with pytest.raises(pytest.skip.Exception if dtype in skipped else AssertionError):
            DropoutTester().test_other_precisions_have_the_same_noise(found, dtype)


def test_a_dropout_of_weights_under_another_name() -> None:
    found = dropout(
        "theirs", regtorch.DropConnect, within=WeightsAsUnits, acts_on_weights=True, state=("layer.weight",)
    )
    tester = DropoutTester()
    tester.test_shared_noise_is_the_same_for_all_rows(found)
    tester.test_strided_input(found)
    tester.test_function_transforms(found)
    with pytest.raises(AssertionError):
        tester.test_shared_noise_is_the_same_for_all_rows(DropoutCase("theirs", within=WeightsAsUnits))


def test_a_dropout_that_must_keep_some() -> None:
    found = dropout("theirs", regtorch.AlphaDropout, can_drop_all=False)
    with pytest.raises(pytest.skip.Exception, match="can_drop_all=False"):
        DropoutTester().test_everything_dropped_is_zero_and_not_nan(found)
    DropoutTester().test_bad_settings(found)
    with pytest.raises(SettingError, match=r"drop_prob=1\.0 is not allowed"):
        DropoutTester().test_everything_dropped_is_zero_and_not_nan(DropoutCase("theirs"))


def test_noise_that_is_not_a_probability() -> None:
    found = dropout("theirs", regtorch.GaussianNoise, probability="std", can_drop_all=False, dropped=None)
    DropoutTester().test_bad_settings(found)
    DropoutTester().test_ambiguous_arguments(found)
    DropoutTester().test_nothing_to_drop(found)


def test_a_wrong_formula_fails() -> None:
    constraint(lambda self, w: 0.75 * w)
    wrong = ConstraintCase("theirs", {}, formula=lambda w: np.zeros_like(w), inside=None)
    with pytest.raises(AssertionError):
        ConstraintTester().test_result_is_the_formula(wrong, (7, 5))
