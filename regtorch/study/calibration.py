"""Calibration: accuracy as a function of confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True, repr=False)
class Calibration:
    """One value per nonempty bin of confidence.

    Args:
        confidence: mean of the rows' largest probabilities.
        accuracy: fraction of the rows whose most probable class is correct.
        rows: number of rows.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray

    def __repr__(self) -> str:
        return f"Calibration({int(self.rows.sum())} rows in {len(self.rows)} bins: error {self.error:.4f})"

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of ``|accuracy - confidence|`` over the bins, weighted by rows."""
        return float((self.rows * abs(self.accuracy - self.confidence)).sum() / max(1, self.rows.sum()))


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Group rows into bins of equal width, from 0 to 1, by their largest probability.

    Args:
        probabilities: (rows, classes).
        labels: (rows,) class indices.
        bins: number of bins.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    Example:
        >>> calibration(np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([0, 0])).error
        0.4
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = np.bincount(number, minlength=bins)
    there = rows > 0
    sums = [np.bincount(number, weights, minlength=bins)[there] / rows[there] for weights in (confidence, right)]
    return Calibration(sums[0], sums[1], rows[there])
