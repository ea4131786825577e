"""How many samples are enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.files import replaced
from regtorch.mc.prediction import MCPrediction
from regtorch.settings import INSIDE_ZERO_ONE, POSITIVE


@dataclass(frozen=True)
class SamplesNeeded:
    """What the first so many samples of a prediction give.

    Args:
        needed: samples until the standard error of the mean is below `tolerance` in every entry of the wanted share
            of the rows, as their spread says.
        extrapolated: whether that is more than were drawn.
        tolerance: the standard error that was asked for.
        counts: numbers of samples.
        standard_error: for each, the rows' mean of their largest standard error.
        accuracy: for each, of the mean; None without labels.
        nll: likewise the negative log-likelihood.
    """

    needed: int
    extrapolated: bool
    tolerance: float
    counts: tuple[int, ...]
    standard_error: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    nll: tuple[float, ...] | None

    def draw(self, out: str | Path) -> None:
        """Draw accuracy, NLL and standard error against the number of samples into a picture file."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        panels = {"accuracy": self.accuracy, "NLL": self.nll, "mean standard error": self.standard_error}
        drawn = {name: values for name, values in panels.items() if values is not None}
        figure, axes = pyplot.subplots(
            1, len(drawn), figsize=(3.6 * len(drawn), 3), squeeze=False, layout="constrained"
        )
        for panel, (name, values) in zip(axes[0], drawn.items(), strict=True):
            panel.plot(self.counts, values, marker="o", markersize=4)
            panel.set_xscale("log")
            panel.set_xlabel("samples")
            panel.set_title(name)
            panel.grid(alpha=0.3)
        last = axes[0][-1]
        last.set_yscale("log")
        last.axhline(self.tolerance, color="0.5", linestyle="--", linewidth=1)
        last.annotate(f"tolerance {self.tolerance:g}", (self.counts[0], self.tolerance), va="bottom", fontsize=8)
        with replaced(Path(out)) as temporary:
            figure.savefig(temporary, dpi=130)
        pyplot.close(figure)


def samples_needed(
    prediction: MCPrediction, labels: Tensor | None = None, *, tolerance: float = 0.01, share: float = 0.95
) -> SamplesNeeded:
    """How many samples the mean needs to have a standard error below `tolerance`, from one prediction's samples.

    A row needs ``max over entries of variance / tolerance^2`` samples; the answer is the quantile of that over rows.

    Args:
        prediction: made with ``keep_samples=True``.
        labels: (rows,) the classes' numbers, for accuracy and NLL.
        tolerance: the wanted standard error, > 0.
        share: of the rows that are to reach it, above 0 and below 1.

    Raises:
        SettingError: a prediction without samples or rows, or a value outside its range.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), regtorch.Dropout(drop_prob=0.5), torch.nn.Linear(8, 3))
        >>> out = regtorch.MCPredictor(model, samples=100, keep_samples=True)(torch.randn(20, 4))
        >>> samples_needed(out, tolerance=0.5).needed
        2
    """
    POSITIVE.check("tolerance", tolerance)
    INSIDE_ZERO_ONE.check("share", share)
    samples = prediction.samples
    if samples is None or len(samples) < 2 or not len(prediction):
        raise SettingError(
            "the prediction holds no samples: make it of some rows with keep_samples=True and samples >= 2"
        )
    if samples.isnan().any():
        raise SettingError("rows of the prediction stopped early: make it with tolerance=None")
    if labels is not None and (samples.ndim != 3 or labels.shape != samples.shape[1:2]):
        raise SettingError(
            f"labels of shape {tuple(labels.shape)} do not fit predictions {tuple(prediction.mean.shape)}"
        )
    largest = samples.var(0).flatten(1).amax(1).double()
    exact = float((largest / tolerance**2).quantile(share))
    needed = max(2, math.ceil(exact))
    counts = _counts(len(samples))
    error = tuple(float((largest / count).sqrt().mean()) for count in counts)
    accuracy = nll = None
    if labels is not None:
        means = [samples[:count].mean(0) for count in counts]
        accuracy = tuple(float((mean.argmax(1) == labels).float().mean()) for mean in means)
        tiny = torch.finfo(samples.dtype).tiny
        nll = tuple(float(torch.nn.functional.nll_loss(mean.clamp_min(tiny).log(), labels)) for mean in means)
    return SamplesNeeded(needed, needed > len(samples), tolerance, counts, error, accuracy, nll)


def _counts(samples: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... and the last."""
    steps = [digit * 10**power for power in range(len(str(samples))) for digit in (1, 2, 5)]
    return (*(step for step in steps if step < samples), samples)
