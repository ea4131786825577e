"""Running moments of samples, row by row, in memory that does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """Mean and variance over samples by Welford's update, each row with a count of its own.

    ``mean_n = mean_{n-1} + (x_n - mean_{n-1}) / n``,  ``M_n = M_{n-1} + (x_n - mean_{n-1}) (x_n - mean_n)``.

    Args:
        rows: number of rows.

    Source: Welford, "Note on a method for calculating corrected sums of squares and products", 1962.

    Example:
        >>> moments = RunningMoments(1)
        >>> for value in (1.0, 3.0):
        ...     moments.add(torch.tensor([[value]]), torch.tensor([0]))
        >>> moments.mean, moments.std
        (tensor([[2.]]), tensor([[1.]]))
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.count: Tensor | None = None

    def add(self, sample: Tensor, rows: Tensor) -> None:
        """Take in one sample (len(rows), ...) of these rows."""
        if self.count is None:
            shape = (self.rows, *sample.shape[1:])
            self.mean, self._squares = sample.new_zeros(shape), sample.new_zeros(shape)
            self.count = torch.zeros(self.rows, dtype=torch.long, device=sample.device)
        self.count[rows] += 1
        count = self.count[rows].view(-1, *[1] * (sample.ndim - 1))
        before = self.mean[rows]
        after = before + (sample - before) / count
        self.mean[rows] = after
        self._squares[rows] += (sample - before) * (sample - after)

    @property
    def std(self) -> Tensor:
        """Standard deviation over the samples (divided by their number, as ``numpy.std``)."""
        assert self.count is not None
        return (self._squares / self.count.clamp(min=1).view(-1, *[1] * (self.mean.ndim - 1))).clamp(min=0).sqrt()

    def standard_error(self, rows: Tensor) -> Tensor:
        """Of each row's mean, its largest entry: (len(rows),)."""
        assert self.count is not None
        count = self.count[rows].view(-1, *[1] * (self.mean.ndim - 1))
        variance = self._squares[rows] / (count - 1).clamp(min=1) / count
        return variance.clamp(min=0).sqrt().flatten(1).amax(1)
