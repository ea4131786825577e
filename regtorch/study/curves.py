"""Learning curves of finished runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from regtorch.errors import DataError
from regtorch.files import replaced


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """The columns of a run's ``metrics.csv``: name -> one value an epoch.

    Args:
        folder: a run's.

    Raises:
        DataError: there is no metrics.csv, or it holds no finished epoch.
    """
    path = folder / "metrics.csv"
    if not path.is_file():
        raise DataError(f"run={folder}: there is no metrics.csv; is it the folder of a run?")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise DataError(f"run={folder}: metrics.csv holds no finished epoch")
    return {name: [float(row[name]) if row[name] else float("nan") for row in rows] for name in rows[0]}


def draw_curves(runs: Mapping[str, Path], out: Path, names: Sequence[str] = ("data_loss", "accuracy")) -> None:
    """Draw training (dashed) and validation (solid) curves of runs side by side, one panel a metric.

    Args:
        runs: label -> folder of a run.
        out: the picture, of a type that matplotlib writes (.png, .svg, .pdf).
        names: the metrics.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metrics = {label: read_metrics(folder) for label, folder in runs.items()}
    figure, panels = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.2), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        for index, (label, columns) in enumerate(metrics.items()):
            color = f"C{index}"
            panel.plot(columns["epoch"], columns[name], "--", color=color, alpha=0.6, label=f"{label}, training")
            if f"val_{name}" in columns:
                panel.plot(columns["epoch"], columns[f"val_{name}"], color=color, label=f"{label}, validation")
        panel.set_xlabel("epoch")
        panel.set_ylabel(name)
        panel.set_yscale("log" if name.endswith("loss") else "linear")
        panel.grid(alpha=0.3)
    panels[0][0].legend(frameon=False, fontsize="small")
    figure.tight_layout()
    with replaced(out) as temporary:
        figure.savefig(temporary, dpi=130, format=out.suffix.lstrip("."))
    pyplot.close(figure)
