"""A plot of a comparison with one dot per seed."""

from __future__ import annotations

import math
from pathlib import Path

from regtorch.study.comparison import Comparison
from regtorch.study.plot_text import plain
from regtorch.study.statistics import LEVEL
from regtorch.system.files import replaced

#: default panels
USUAL_PANELS = ("test.accuracy", "test.nll", "test.brier", "test.ece")
_MOST_COLUMNS = 4


def draw_comparison(comparison: Comparison, out: Path, names: tuple[str, ...] | None = None) -> None:
    """Draw one panel per metric and one row per recipe: its seeds as dots, and below them the mean and its interval.

    The dots of one seed are joined from recipe to recipe: parallel lines mean that all seeds agree on the difference. A
    dotted line marks the mean of the first recipe.

    Args:
        comparison: the comparison.
        out: the image file, in a format that matplotlib writes (.png, .svg, .pdf).
        names: the metrics; None: those of the test set, or all if there are none.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    drawn = [m for m in comparison.metrics if m.name in (USUAL_PANELS if names is None else names)]
    drawn = drawn or list(comparison.metrics)
    columns = min(len(drawn), _MOST_COLUMNS)
    lines = math.ceil(len(drawn) / columns)
    recipes = comparison.recipes
    size = (max(5.5, 1.2 + 2.5 * columns), 0.2 + lines * (0.8 + 0.55 * len(recipes)))
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for panel, metric in zip(grid.flat, drawn, strict=False):
        values = comparison.values[metric.name]
        seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
        height = {seed: (index + 1) / (len(seeds) + 1) * 0.5 - 0.5 for index, seed in enumerate(seeds)}
        for seed in seeds:
            there = [index for index, recipe in enumerate(recipes) if seed in values.get(recipe, {})]
            points = [(values[recipes[index]][seed], index + height[seed]) for index in there]
            panel.plot(*zip(*points, strict=True), color="0.75", linewidth=0.6, zorder=1)
        for row in comparison.rows:
            if row.metric is not metric:
                continue
            index = recipes.index(row.recipe)
            color = f"C{index % 10}"
            dots = values[row.recipe]
            panel.scatter(
                list(dots.values()), [index + height[s] for s in dots], s=12, color=color, linewidth=0, zorder=2
            )
            if row.low is not None and row.high is not None:
                panel.plot([row.low, row.high], [index + 0.2] * 2, color=color, linewidth=2, solid_capstyle="butt")
            if index == 0:
                panel.axvline(row.mean, color=color, linewidth=0.8, linestyle=":", zorder=0)
            panel.plot([row.mean], [index + 0.2], "D", color=color, markersize=3.5)
        direction = f" ({metric.better} is better)" if metric.better else ""
        panel.set_xlabel(f"{metric.name}{direction}", fontsize="small")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.tick_params(labelsize="small")
        panel.grid(axis="x", alpha=0.3)
        panel.set_yticks(range(len(recipes)), [plain(recipe) for recipe in recipes])
        panel.set_ylim(len(recipes) - 0.5, -0.7)  # the first on top
    for panel in grid.flat[len(drawn) :]:
        panel.set_visible(False)
    words = f"one dot per seed, joined from recipe to recipe; diamond and bar: mean, {LEVEL:.0%} interval"
    figure.supxlabel(words, fontsize="x-small", color="0.4")
    with replaced(out) as temporary:
        figure.savefig(temporary, dpi=130, format=out.suffix.lstrip("."))
    pyplot.close(figure)
