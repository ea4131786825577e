"""How many samples are enough, as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.errors import SettingError
from regtorch.system.files import replaced

if TYPE_CHECKING:
    from regtorch.mc.samples_needed import SamplesNeeded

#: numbers of samples up to this are written out, larger ones as powers of ten
_LONGEST_NUMBER = 1e5


def draw_samples_needed(result: SamplesNeeded, out: Path) -> None:
    """Draw accuracy, NLL and standard error against the number of samples; a dotted line marks how many are needed.

    Where that is more than were drawn, a dashed line continues the standard error.

    Args:
        result: what to draw.
        out: the picture, of a type that matplotlib writes (.png, .svg, .pdf); folders that are missing are made.

    Raises:
        SettingError: a type that it does not write.
    """
    from matplotlib.figure import Figure  # not pyplot, which would change what a notebook draws with

    measures = {"accuracy": result.accuracy, "NLL": result.nll}
    drawn = {name: values for name, values in measures.items() if values is not None}
    figure = Figure(figsize=(3.3 * len(drawn) + 4.2, 3.2), layout="constrained")
    kind = out.suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise SettingError(f"out={out} is not allowed: its name must end in .png, .svg or .pdf")
    panels = figure.subplots(1, len(drawn) + 1, squeeze=False, width_ratios=[3.3] * len(drawn) + [4.2])[0]
    for panel, (name, values) in zip(panels, drawn.items(), strict=False):
        panel.plot(result.counts, values, "o-", color="C0", markersize=4)
        panel.set_ylabel(name)
    _draw_standard_error(panels[-1], result)
    for panel in panels:
        if panel is panels[-1] or not result.extrapolated:
            panel.axvline(result.needed, color="C3", linestyle=":", linewidth=1.4, zorder=0)
        panel.set_xscale("log")
        if panel.get_xlim()[1] < _LONGEST_NUMBER:
            panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel("samples")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    drawn_words = (
        f", extrapolated from {result.counts[-1]:,}" if result.extrapolated else f" of {result.counts[-1]:,} drawn"
    )
    figure.suptitle(f"{result.needed:,} samples needed{drawn_words}", fontsize="medium", fontweight="bold")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(out) as temporary:
        figure.savefig(temporary, dpi=130, format=kind)


def _draw_standard_error(panel: Any, result: SamplesNeeded) -> None:
    """The standard error of the mean row and of the worst one that counts, and where that meets the tolerance."""
    worst = "largest of all rows" if result.share == 1 else f"largest in {100 * result.share:.4g} % of the rows"
    panel.plot(result.counts, result.standard_error, "-", color="0.6", linewidth=1.2, label="mean of the rows")
    panel.plot(result.counts, result.largest_standard_error, "o-", color="C0", markersize=4, label=worst)
    if result.extrapolated:
        last = result.largest_standard_error[-1]
        end = last * math.sqrt(result.counts[-1] / result.needed)
        panel.plot([result.counts[-1], result.needed], [last, end], "--", color="C0", linewidth=1.2)
    panel.axhline(result.tolerance, color="C3", linewidth=1, label=f"tolerance {result.tolerance:g}", zorder=0)
    panel.set_ylabel("standard error of the mean")
    if min(result.standard_error) > 0:  # a model that does not vary has none to show on a logarithmic scale
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
    else:
        panel.set_ylim(0, 2 * result.tolerance)
    panel.legend(
        fontsize="x-small", loc="upper right", framealpha=1, edgecolor="none", borderaxespad=0
    )  # the lines fall
