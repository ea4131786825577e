"""The plot of predictions: selected rows, and no overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot

from regtorch.study.prediction_plot import draw_predictions

RNG = np.random.default_rng(0)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The drawn figures, which are not closed."""
    drawn: list[Any] = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    yield drawn
    monkeypatch.undo()
    pyplot.close("all")


def draw(out: Path, rows: int, classes: list[str], labeled: bool, images: bool) -> tuple[np.ndarray, np.ndarray]:
    mean = RNG.dirichlet([0.5] * len(classes), rows)
    entropy = -(mean * np.log(mean.clip(1e-30))).sum(1)
    labels = RNG.integers(0, len(classes), rows) if labeled else None
    compared = {"dropout off": (mean, 0.1), "mean of 8 samples": (mean, 0.2)} if labeled else {}
    moments = {"mean": mean, "std": mean / 4, "predictive_entropy": entropy}
    draw_predictions(
        moments, labels, classes, lambda chosen: RNG.random((len(chosen), 8, 8)) if images else None, out, compared
    )
    return mean, entropy


def panels_of(figure: Any) -> list[Any]:
    return [panel for panel in figure.axes if panel.get_visible()]


def texts_of(figure: Any) -> list[Any]:
    """All texts in the figure."""
    found = [
        text
        for area in (figure, *figure.subfigs, *(s for a in figure.subfigs for s in a.subfigs))
        for text in area.texts
    ]
    for panel in panels_of(figure):
        found.append(panel.title)
        for axis in (panel.xaxis, panel.yaxis) if panel.axison else ():
            low, high = sorted(axis.get_view_interval())
            found.append(axis.label)
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        if panel.get_legend() is not None:
            found += panel.get_legend().get_texts()
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts that overlap, and texts beyond the edge of the figure."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    inside = figure.bbox.padded(2)
    wrong = [(a, "outside") for a, box in boxes if not inside.contains(*box.min) or not inside.contains(*box.max)]
    for index, (a, first) in enumerate(boxes):
        wrong += [(a, b) for b, second in boxes[index + 1 :] if first.overlaps(second)]
    return wrong


CASES = {
    "usual": (40, list("0123456789"), True, True),
    "one row": (1, list("0123456789"), True, True),
    "few rows, no labels": (3, list("abc"), False, True),
    "many classes, no images": (40, [str(number) for number in range(100)], True, False),
    "long names": (40, [f"a very long name of class {number}" for number in range(12)], True, True),
    "two classes": (40, ["no", "yes"], True, False),
}


@pytest.mark.parametrize(("rows", "classes", "labeled", "images"), CASES.values(), ids=CASES)
def test_no_text_covers_another(
    rows: int, classes: list[str], labeled: bool, images: bool, figures: list, tmp_path: Path
) -> None:
    draw(tmp_path / "predictions.png", rows, classes, labeled, images)
    (figure,) = figures
    assert overlaps(figure) == []
    assert (tmp_path / "predictions.png").stat().st_size > 10_000


def test_the_least_certain_rows_come_before_the_most_certain(figures: list, tmp_path: Path) -> None:
    _, entropy = draw(tmp_path / "predictions.png", 40, list("abcd"), True, True)
    titles = [panel.get_title().splitlines()[0] for panel in panels_of(figures[0]) if panel.get_title()]
    order = np.argsort(entropy)
    assert titles == [f"row {row}" for row in [*order[::-1][:5], *order[:5]]]


def test_a_bar_is_a_class_and_its_error_a_standard_deviation(figures: list, tmp_path: Path) -> None:
    mean, entropy = draw(tmp_path / "predictions.png", 40, list("abcd"), False, False)
    row = int(np.argmax(entropy))
    panel = panels_of(figures[0])[0]
    np.testing.assert_allclose([bar.get_width() for bar in panel.patches], mean[row])
    (errors,) = panel.collections
    spread = [segment[:, 0] for segment in errors.get_segments()]
    np.testing.assert_allclose(spread, np.stack([mean[row] * 0.75, mean[row] * 1.25], 1))


def test_the_legend_shows_the_calibration_errors(figures: list, tmp_path: Path) -> None:
    draw(tmp_path / "predictions.png", 40, list("abcd"), True, False)
    legends = [panel.get_legend() for panel in figures[0].axes if panel.get_legend() is not None]
    (legend,) = legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["perfectly calibrated", "dropout off (ECE 0.100)", "mean of 8 samples (ECE 0.200)"]
