"""How many samples are enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from regtorch.errors import SettingError
from regtorch.mc.arguments import check_is_prediction
from regtorch.mc.class_labels import Labels, class_labels
from regtorch.mc.prediction import MCPrediction
from regtorch.settings import FRACTION, POSITIVE, Range

_SHARE = Range("a number above 0, at most 1", lambda value: FRACTION.holds(value) and value > 0)


@dataclass(frozen=True, repr=False)
class SamplesNeeded:
    """What the first so many samples of a prediction give.

    The standard errors of all counts are computed from the spread of all samples: that of a few would be too rough.

    Args:
        needed: samples until the standard error of the mean is down to `tolerance` in every entry of the wanted share
            of the rows, by their spread.
        extrapolated: whether that is more than were drawn.
        tolerance: the standard error that was asked for.
        counts: numbers of samples.
        standard_error: for each, the rows' mean of their largest standard error.
        accuracy: for each, of the mean; None without labels.
        nll: likewise the negative log-likelihood.
        largest_standard_error: for each, the largest one in the wanted share of the rows: it comes down to `tolerance`
            at `needed`.
        share: of the rows, that was asked for.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
        >>> out = regtorch.MCPredictor(model, samples=20, keep_samples=True)(torch.randn(5, 4))
        >>> found = samples_needed(out, tolerance=1e-4)
        >>> found.counts, found.extrapolated
        ((1, 2, 5, 10, 20), True)
    """

    needed: int
    extrapolated: bool
    tolerance: float
    counts: tuple[int, ...]
    standard_error: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    nll: tuple[float, ...] | None
    largest_standard_error: tuple[float, ...]
    share: float

    def __repr__(self) -> str:
        more = ", more than were drawn" if self.extrapolated else ""
        return (
            f"SamplesNeeded({self.needed}{more}, for a standard error of {self.tolerance} in {self.share:.0%} of the rows; "
            f"with {self.counts[-1]} it is {self.largest_standard_error[-1]:.3g})"
        )

    def draw(self, out: str | Path) -> None:
        """Draw accuracy, NLL and standard error against the number of samples into a picture file."""
        from regtorch.mc.samples_needed_plot import draw_samples_needed

        draw_samples_needed(self, Path(out))


def samples_needed(
    prediction: MCPrediction, labels: Labels | None = None, *, tolerance: float = 0.01, share: float = 0.95
) -> SamplesNeeded:
    """How many samples the mean needs to have a standard error of `tolerance`, from one prediction's samples.

    A row needs ``max over entries of variance / tolerance^2`` samples; the answer is the least number that is enough
    for the wanted share of the rows.

    Args:
        prediction: made with ``keep_samples=True``.
        labels: (rows,) the classes' numbers, for accuracy and NLL.
        tolerance: the wanted standard error, > 0.
        share: of the rows that are to reach it, above 0; 1 for every row, as a predictor's ``tolerance=`` demands.

    Raises:
        SettingError: a prediction without samples or rows, labels that do not fit it, or a value outside its range.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), regtorch.Dropout(drop_prob=0.5), torch.nn.Linear(8, 3))
        >>> out = regtorch.MCPredictor(model, samples=100, keep_samples=True)(torch.randn(20, 4))
        >>> samples_needed(out, tolerance=0.5).needed
        2
    """
    POSITIVE.check("tolerance", tolerance)
    _SHARE.check("share", share)
    check_is_prediction(prediction)
    samples = prediction.samples
    if samples is None or len(samples) < 2 or not len(prediction):
        raise SettingError(
            "the prediction holds no samples: make it of some rows with keep_samples=True and samples >= 2"
        )
    if (prediction.samples_used < len(samples)).any():
        raise SettingError("rows of the prediction stopped early: make it with tolerance=None")
    if samples.isnan().any():
        raise SettingError("the prediction's samples hold NaN: they have no spread")
    if labels is not None:
        labels = class_labels(labels, prediction)
    largest = (
        samples.var(0).reshape(samples.shape[1], -1).amax(1).double()
    )  # of each row's entries, the variance of a single sample
    least_rows = math.ceil(share * len(largest) - 1e-9)  # 0.07 * 100 is a little more than 7
    worst = float(largest.sort().values[max(least_rows, 1) - 1])
    needed = max(2, math.ceil(worst / tolerance**2))
    counts = _counts(len(samples))
    error = tuple(float((largest / count).sqrt().mean()) for count in counts)
    largest_error = tuple(math.sqrt(worst / count) for count in counts)
    accuracy = nll = None
    if labels is not None:
        means = [samples[:count].mean(0) for count in counts]
        accuracy = tuple(float((mean.argmax(1) == labels).double().mean()) for mean in means)
        tiny = torch.finfo(samples.dtype).tiny
        nll = tuple(float(torch.nn.functional.nll_loss(mean.clamp_min(tiny).log(), labels)) for mean in means)
    extrapolated = needed > len(samples)
    return SamplesNeeded(needed, extrapolated, tolerance, counts, error, accuracy, nll, largest_error, share)


def _counts(samples: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... and the last."""
    steps = [digit * 10**power for power in range(len(str(samples))) for digit in (1, 2, 5)]
    return (*(step for step in steps if step < samples), samples)
