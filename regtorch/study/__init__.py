"""Curves and comparisons of finished runs. Needs no torch."""

from regtorch.lazy_package import make_lazy as _make_lazy

_make_lazy(
    __name__,
    {
        "Calibration": "regtorch.study.calibration",
        "Comparison": "regtorch.study.comparison",
        "Run": "regtorch.study.results",
        "calibration": "regtorch.study.calibration",
        "compare": "regtorch.study.comparison",
        "draw_comparison": "regtorch.study.comparison_plot",
        "draw_curves": "regtorch.study.curves",
        "find_runs": "regtorch.study.results",
        "group_runs": "regtorch.study.grouping",
        "read_metrics": "regtorch.study.curves",
        "read_run": "regtorch.study.results",
    },
)
