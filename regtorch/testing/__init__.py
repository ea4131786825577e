"""Tests that every component must pass, built in or from a plugin; needs pytest.

Write a table of cases and a test class that uses it::

    CASES = [RegularizerCase("huber", {"delta": 0.5}, formula=..., bad={"delta": -1})]

    @pytest.mark.parametrize("case", CASES, ids=str)
    class TestRegularizers(RegularizerTester): ...

Each case has an independent formula in NumPy as a reference. Deviations of a component from others of its kind are
fields of its case (`ConstraintCase.projection`, `DropoutCase.acts_on_weights`, `DropoutCase.noise_depends_on_dtype`,
...); a test that does not apply then is skipped with a reason.
"""

from __future__ import annotations

import pytest

for _name in ("regularizer", "constraint", "dropout", "contract"):
    pytest.register_assert_rewrite(f"regtorch.testing.{_name}")

from regtorch.testing.constraint import Case as ConstraintCase  # noqa: E402
from regtorch.testing.constraint import ConstraintTester  # noqa: E402
from regtorch.testing.dropout import Case as DropoutCase  # noqa: E402
from regtorch.testing.dropout import DropoutTester, StepsLast, WeightsAsUnits  # noqa: E402
from regtorch.testing.regularizer import Case as RegularizerCase  # noqa: E402
from regtorch.testing.regularizer import RegularizerTester  # noqa: E402

__all__ = [
    "ConstraintCase",
    "ConstraintTester",
    "DropoutCase",
    "DropoutTester",
    "RegularizerCase",
    "RegularizerTester",
    "StepsLast",
    "WeightsAsUnits",
]
