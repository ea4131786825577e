"""The tests of regtorch's own components, applied to the plugin: python -m pytest examples/plugin/tests."""

from __future__ import annotations

import numpy as np
import pytest

from regtorch.testing import (
    ConstraintCase,
    ConstraintTester,
    DropoutCase,
    DropoutTester,
    RegularizerCase,
    RegularizerTester,
)


def huber(w: np.ndarray, delta: float) -> float:
    size = np.abs(w)
    return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum())


REGULARIZERS = [
    RegularizerCase(
        "huber", {"strength": 0.3, "delta": 0.2}, lambda w: 0.3 * huber(w, 0.2), {"delta": 0, "strength": -1}
    )
]
CONSTRAINTS = [
    ConstraintCase(
        "box", {"limit": 0.5}, lambda w: np.clip(w, -0.5, 0.5), lambda w: np.clip(w, -0.5, 0.5), {"limit": 0}
    )
]
DROPOUTS = [DropoutCase("block", (400, 8, 10, 1), draw_dims=3, settings={"size": 1}, bad={"size": 0})]


@pytest.mark.parametrize("case", REGULARIZERS, ids=str)
class TestRegularizers(RegularizerTester):
    pass


@pytest.mark.parametrize("case", CONSTRAINTS, ids=str)
class TestConstraints(ConstraintTester):
    pass


@pytest.mark.parametrize("case", DROPOUTS, ids=str)
class TestDropouts(DropoutTester):
    pass
