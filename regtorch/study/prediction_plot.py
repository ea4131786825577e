"""A plot of predictions: the most and the least certain rows, and a reliability diagram."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.study.calibration import BINS, calibration
from regtorch.system.files import replaced

_EXAMPLES = 5
_MOST_CLASSES = 10
_LONGEST_NAME = 14

#: images (rows, height, width) or (rows, height, width, 3) of the given rows, from 0 to 1; None if they are not images
Pictures = Callable[[np.ndarray], "np.ndarray | None"]


def draw_predictions(
    moments: Mapping[str, np.ndarray | None],
    labels: np.ndarray | None,
    classes: Sequence[str],
    pictures: Pictures,
    out: Path,
    compared: Mapping[str, tuple[np.ndarray, float]],
) -> None:
    """Draw the least and the most certain rows, by the entropy of their mean, and the reliability diagram.

    Args:
        moments: ``mean`` and ``std`` (rows, classes) and ``predictive_entropy`` (rows,); without ``std`` if nothing
            was sampled.
        labels: (rows,) class indices; None if unknown: then there is no reliability diagram.
        classes: names of the classes.
        pictures: returns the images of rows.
        out: the image file.
        compared: name -> (rows, classes) probabilities and their calibration error, for the reliability diagram.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    mean, std, entropy = (moments.get(name) for name in ("mean", "std", "predictive_entropy"))
    assert mean is not None
    assert entropy is not None
    order = np.argsort(entropy, kind="stable")
    half = len(order) // 2
    groups = {"Least certain": order[half:][::-1][:_EXAMPLES], "Most certain": order[:half][:_EXAMPLES]}
    groups = {title: rows for title, rows in groups.items() if len(rows)}
    shown = pictures(np.concatenate(list(groups.values())))
    columns = max(len(rows) for rows in groups.values())
    listed = min(len(classes), _MOST_CLASSES)
    heights = ([1.35] if shown is not None else []) + [0.5 + 0.15 * listed]
    examples_width = 1.0 + 1.55 * columns
    height = max(len(groups) * (sum(heights) + 0.75), 4.6)
    figure = pyplot.figure(figsize=(examples_width + (4.2 if labels is not None else 0), height), layout="constrained")
    areas: Any = figure.subfigures(1, 2, width_ratios=[examples_width, 4.2]) if labels is not None else [figure]
    parts = np.atleast_1d(areas[0].subfigures(len(groups), 1, hspace=0.03))
    first = 0
    for part, (title, rows) in zip(parts, groups.items(), strict=True):
        part.suptitle(title, fontsize="medium", fontweight="bold")
        grid = part.subplots(len(heights), columns, height_ratios=heights, squeeze=False, gridspec_kw={"wspace": 0.1})
        images = None if shown is None else shown[first : first + len(rows)]
        first += len(rows)
        for column in range(columns):
            if column >= len(rows):
                for panel in grid[:, column]:
                    panel.set_visible(False)
                continue
            row = rows[column]
            if images is not None:
                grid[0, column].imshow(images[column], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                grid[0, column].set_axis_off()
            label = None if labels is None else int(labels[row])
            grid[0, column].set_title(_title(row, int(mean[row].argmax()), label, classes), fontsize="small")
            _draw_bars(
                grid[-1, column], mean[row], None if std is None else std[row], label, classes, named=column == 0
            )
            grid[-1, column].set_xlabel(f"entropy {entropy[row]:.2f}", fontsize="x-small")
    words = "bars: mean probability, plus and minus one standard deviation of the samples"
    words = "bars: probability" if std is None else words
    words = textwrap.fill(words if labels is None else f"{words}; green: the label", int(15 * examples_width))
    areas[0].supxlabel(words, fontsize="x-small", color="0.4")
    if labels is not None:
        _draw_reliability(areas[1], labels, compared)
    with replaced(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    pyplot.close(figure)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _title(row: int, predicted: int, label: int | None, classes: Sequence[str]) -> str:
    title = f"row {row}\n{_short(classes[predicted])}"
    if label is None:
        return title
    return f"{title} ✓" if label == predicted else f"{title} ✗\nlabel: {_short(classes[label])}"


def _draw_bars(
    panel: Any, mean: np.ndarray, std: np.ndarray | None, label: int | None, classes: Sequence[str], named: bool
) -> None:
    """Mean probabilities of the classes, plus and minus one standard deviation of the samples."""
    many = len(classes) > _MOST_CLASSES
    drawn = np.argsort(-mean, kind="stable")[:_MOST_CLASSES] if many else np.arange(len(classes))
    places = np.arange(len(drawn))
    colors = ["C2" if number == label else "C0" for number in drawn]
    panel.barh(places, mean[drawn], color=colors, height=0.75)
    if std is not None:
        panel.errorbar(mean[drawn], places, xerr=std[drawn], fmt="none", ecolor="0.25", elinewidth=0.9, capsize=1.5)
    panel.set_xlim(0, 1)
    panel.set_ylim(len(drawn) - 0.4, -0.6)
    panel.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    panel.tick_params(labelsize="x-small", length=2)
    panel.set_yticks(places, [_short(classes[number]) for number in drawn] if named or many else [])
    panel.spines[["top", "right"]].set_visible(False)


def _draw_reliability(area: Any, labels: np.ndarray, compared: Mapping[str, tuple[np.ndarray, float]]) -> None:
    """Accuracy against confidence, and below it the number of rows per confidence."""
    area.suptitle("Reliability", fontsize="medium", fontweight="bold")
    upper, lower = area.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], "--", color="0.6", linewidth=1, label="perfectly calibrated")
    edges = np.linspace(0, 1, BINS + 1)
    for (name, (probabilities, error)), color, marker in zip(compared.items(), ("0.45", "C0"), "so", strict=False):
        bins = calibration(probabilities, labels)
        label = f"{name} (ECE {error:.3f})"
        upper.plot(bins.confidence, bins.accuracy, marker, linestyle="-", color=color, markersize=4, label=label)
        lower.hist(probabilities.max(1), edges, histtype="step", color=color, linewidth=1.4)
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1.02)
    upper.set_xlim(0, 1)
    # outside the axes, as lines may cross any part of them
    upper.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(-0.02, 1))
    upper.grid(alpha=0.3)
    lower.set_ylabel("rows")
    lower.set_xlabel("confidence (probability of the predicted class)")
    lower.grid(alpha=0.3)
