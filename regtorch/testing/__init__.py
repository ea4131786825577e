"""The checks that every component of a kind must pass, ours and a plugin's alike; needs pytest.

Write a table of cases and a class of tests that has it::

    CASES = [RegularizerCase("huber", {"delta": 0.5}, formula=..., bad={"delta": -1})]

    @pytest.mark.parametrize("case", CASES, ids=str)
    class TestRegularizers(RegularizerTester): ...

Each case's formula is written a second time, in NumPy, so that it is held against something. What a component may do
otherwise than most of its kind is a field of its case (`ConstraintCase.projection`, `DropoutCase.acts_on_weights`,
`DropoutCase.noise_depends_on_dtype`, ...); a test that then has nothing to check skips itself and says why.
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
