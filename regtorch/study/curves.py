"""Learning curves of finished runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from regtorch.errors import DataError, SettingError
from regtorch.study.plot_text import plain
from regtorch.system.files import replaced
from regtorch.system.untrusted import read_text

TABLE = "metrics.csv"
#: a row has about 300 bytes
_MOST_BYTES = 32 * 2**20
_MOST_LABELED = 20  # runs; more labels do not fit next to the curves


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """The columns of a run's ``metrics.csv``: name -> one value per epoch; columns without numbers are left out.

    Args:
        folder: folder of a run.

    Raises:
        DataError: there is no metrics.csv, it is not a table of numbers, or it contains no finished epoch.
    """
    path = folder / TABLE
    if not path.is_file():
        raise DataError(f"run={folder}: there is no {TABLE}; is it the folder of a run?")
    try:
        rows = list(csv.DictReader(read_text(path, _MOST_BYTES).splitlines()))
    except (DataError, csv.Error) as error:
        raise DataError(f"run={folder}: {TABLE} cannot be read as a table: {error}") from error
    if not rows:
        raise DataError(f"run={folder}: {TABLE} contains no finished epoch")
    columns = {name: [_number(row[name]) for row in rows] for name in rows[0] if isinstance(name, str)}
    return {
        name: [math.nan if value is None else value for value in values]
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def _number(text: object) -> float | None:
    try:
        return float(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def draw_curves(runs: Mapping[str, Path], out: Path, names: Sequence[str] = ("data_loss", "accuracy")) -> None:
    """Draw training (dashed) and validation (solid) curves of runs side by side, one panel per metric.

    Args:
        runs: label -> folder of a run.
        out: the image file, in a format that matplotlib writes (.png, .svg, .pdf).
        names: the metrics; those that no run has are left out.

    Raises:
        DataError: a run has no table, or none of the metrics.
        SettingError: `out` cannot be written, or has a format that matplotlib does not write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metrics = {label: read_metrics(folder) for label, folder in runs.items()}
    for label, columns in metrics.items():
        if not any(name in columns or f"val_{name}" in columns for name in names):
            raise DataError(
                f"run={runs[label]}: {TABLE} has no column {' or '.join(names)}; it has: {', '.join(columns)}"
            )
    names = [name for name in names if any(name in c or f"val_{name}" in c for c in metrics.values())]
    form = out.suffix.lstrip(".").lower()
    if form not in (known := pyplot.figure().canvas.get_supported_filetypes()):
        pyplot.close()
        raise SettingError(f"--out={out} is not allowed: its name must end in one of {', '.join(sorted(known))}")
    pyplot.close()
    figure, panels = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.2), squeeze=False)
    try:
        for panel, name in zip(panels[0], names, strict=True):
            for index, (label, columns) in enumerate(metrics.items()):
                _draw(panel, name, label if len(metrics) <= _MOST_LABELED else None, columns, f"C{index}")
            panel.set_xlabel("epoch")
            panel.set_ylabel(name)
            panel.set_yscale("log" if name.endswith("loss") else "linear")
            panel.grid(alpha=0.3)
        if panels[0][0].get_legend_handles_labels()[1]:
            panels[0][0].legend(frameon=False, fontsize="small")
        figure.tight_layout()
        with replaced(out) as temporary:
            figure.savefig(temporary, dpi=130, format=form)
    except OSError as error:
        raise SettingError(f"--out={out} cannot be written: {error.strerror or error}") from error
    finally:
        pyplot.close(figure)


def _draw(panel: object, name: str, label: str | None, columns: Mapping[str, list[float]], color: str) -> None:
    """The curves of one run in one panel."""
    plot = panel.plot  # type: ignore[attr-defined]
    rows = len(next(iter(columns.values())))
    epochs = columns.get("epoch") or list(range(1, rows + 1))
    name_in_legend = None if label is None else plain(label).lstrip("_") or "run"  # a leading underscore would hide it
    for column, style, kind in (
        (name, {"linestyle": "--", "alpha": 0.6}, "training"),
        (f"val_{name}", {}, "validation"),
    ):
        if column in columns:
            plot(
                epochs,
                columns[column],
                color=color,
                label=None if name_in_legend is None else f"{name_in_legend}, {kind}",
                **style,
            )
