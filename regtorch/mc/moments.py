"""Running moments of samples, row by row, in memory that does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor

#: some of the rows: a slice, or their numbers
Rows = slice | Tensor


class RunningMoments:
    """Mean and variance over samples, taken in by blocks.

    A block of k samples with mean m and sum of squared deviations M joins n earlier ones by
    ``mean += k / (n + k) * d`` and ``squares += M + n k / (n + k) * d^2`` with ``d = m - mean``.

    Args:
        rows: number of rows.

    Source: Welford, "Note on a method for calculating corrected sums of squares and products", 1962; for blocks Chan,
    Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Example:
        >>> moments = RunningMoments(1)
        >>> moments.add(torch.tensor([[[1.0]]]), slice(None), taken=0)
        >>> moments.add(torch.tensor([[[3.0]], [[5.0]]]), slice(None), taken=1)
        >>> moments.mean, moments.squares
        (tensor([[3.]]), tensor([[8.]]))
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.started = False

    def add(self, block: Tensor, rows: Rows, taken: int) -> None:
        """Take in (samples, len(rows), ...) of these rows, each of which has taken in so many before."""
        if not self.started:
            self.mean = block.new_zeros((self.rows, *block.shape[2:]))
            self.squares = torch.zeros_like(self.mean)
            self.started = True
        new = len(block)
        center = block[0] if new == 1 else block.mean(0)
        mean, squares = self.mean[rows], self.squares[rows]
        difference = center - mean
        if taken:
            squares = squares.addcmul(difference, difference, value=taken * new / (taken + new))
        if new > 1:
            squares = squares + (block - center).square_().sum(0)
        self.mean[rows] = mean.add(difference, alpha=new / (taken + new))
        self.squares[rows] = squares

    def standard_error(self, rows: Rows, taken: int) -> Tensor:
        """Of each row's mean after so many samples, its largest entry: (len(rows),)."""
        variance = self.squares[rows] / max(1, taken - 1) / taken
        return variance.clamp(min=0).sqrt().reshape(len(variance), -1).amax(1)
