"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.study.calibration import Calibration, calibration
from regtorch.study.comparison import Comparison, compare
from regtorch.study.comparison_plot import draw_comparison
from regtorch.study.curves import draw_curves, read_metrics
from regtorch.study.grouping import group_runs
from regtorch.study.results import Run, find_runs, read_run

__all__ = [
    "Calibration",
    "Comparison",
    "Run",
    "calibration",
    "compare",
    "draw_comparison",
    "draw_curves",
    "find_runs",
    "group_runs",
    "read_metrics",
    "read_run",
]
