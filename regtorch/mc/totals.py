"""What is gathered over the samples, row by row, and the prediction that comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.moments import Rows, RunningMoments
from regtorch.mc.output_transform import Transform, classes_at, entropy
from regtorch.mc.prediction import MCPrediction

#: so many entries in a batch that are all in the range of a sigmoid's output are no coincidence
_MANY_ENTRIES = 20

#: steps of a number's last digit by which samples differ that are the same
_ROUNDINGS = 8


@dataclass(frozen=True)
class Gathering:
    """What is to be gathered.

    Args:
        transform: what made the predictions.
        class_dim: the dimension of the classes in predictions (rows, ...), or None.
        samples: how many there are at most.
        keep_samples: whether the samples themselves are kept.
        noise_variance: of the targets around the model's output.
    """

    transform: Transform
    class_dim: int | None
    samples: int
    keep_samples: bool
    noise_variance: float


class Totals:
    """Running totals of the predictions of so many rows.

    Args:
        gathering: what is to be gathered.
        rows: number of rows.

    Example:
        >>> totals = Totals(Gathering("softmax", 1, samples=2, keep_samples=False, noise_variance=0.0), rows=1)
        >>> totals.add(torch.tensor([[[0.9, 0.1]], [[0.7, 0.3]]]), slice(None))
        >>> totals.prediction().mean
        tensor([[0.8000, 0.2000]])
    """

    def __init__(self, gathering: Gathering, rows: int) -> None:
        self.gathering, self.rows = gathering, rows
        self.transform = gathering.transform
        #: whether each entry is the probability of a yes
        self.binary = False
        self.moments = RunningMoments(rows)
        self.taken = 0
        #: whether a sample was seen that differs from the first one of its rows
        self.differ = False
        self.first: Tensor | None = None
        #: whether every entry of the first block is where a sigmoid puts what was a probability before
        self.looks_transformed_twice = False
        self.used: Tensor | None = None
        self.shape: tuple[int, ...] = ()
        self.dim: int | None = None
        self.noise: Tensor | None = None
        self.entropy: Tensor | None = None
        self.votes: Tensor | None = None
        self.samples: Tensor | None = None

    def add(self, block: Tensor, rows: Rows) -> None:
        """Take in (samples, rows, ...) of these rows, which have all taken in `taken` before.

        Raises:
            SettingError: other predictions had another shape.
        """
        if self.used is None:
            self._start(block)
        assert self.used is not None
        if block.shape[2:] != self.shape:
            raise SettingError(
                f"predictions have shape {tuple(block.shape[1:])} in one pass and {(self.rows, *self.shape)} in another: "
                "all rows and samples must have the same; choose or make such a part by a function as output= or transform="
            )
        if not self.differ:
            self._compare(block, rows)
        if self.noise is not None:
            block, log_variance = block.chunk(2, self._dim_of_block)
            self.noise[rows] += log_variance.exp().sum(0)
        self.moments.add(block, rows, self.taken)
        if self.entropy is not None:
            flat = block.flatten(0, 1)
            self.entropy[rows] += entropy(flat, self.dim, self.binary).unflatten(0, block.shape[:2]).sum(0)
        if self.votes is not None:
            won = block > 0.5 if self.binary else block == block.amax(self._dim_of_block, keepdim=True)
            self.votes[rows] += won.sum(0).to(self.votes.dtype)
        if self.samples is not None:
            self.samples[self.taken : self.taken + len(block), rows] = block
        self.used[rows] += len(block)

    def are_identical(self) -> bool:
        """Whether all samples of all rows are the same, but for the rounding of a softmax, say."""
        return not self.differ and self.used is not None and bool((self.used > 1).all())

    def _compare(self, block: Tensor, rows: Rows) -> None:
        if self.first is None:
            self.first = block.new_empty((self.rows, *block.shape[2:]))
        if not self.taken:
            self.first[rows] = block[0]
        rounding = (
            _ROUNDINGS * torch.finfo(block.dtype).eps
        )  # several rows at a time are rounded otherwise than the last few
        self.differ = not torch.allclose(block, self.first[rows].expand_as(block), rtol=rounding, atol=0)
        if self.differ:
            self.first = None

    @property
    def _dim_of_block(self) -> int:
        return 1 if self.dim is None else self.dim + 1  # samples come first

    def _start(self, block: Tensor) -> None:
        self.shape = block.shape[2:]
        shape = [self.rows, *self.shape]
        self.dim = classes_at(len(shape), self.gathering.class_dim, tuple(shape))
        self.used = torch.zeros(self.rows, dtype=torch.long, device=block.device)
        if self.transform == "gaussian":
            assert self.dim is not None
            shape[self.dim] //= 2
            self.noise = block.new_zeros(shape)
        units = 1 if self.dim is None else shape[self.dim]
        self.binary = self.transform == "sigmoid" or (self.transform == "probabilities" and units == 1)
        if self.transform in ("softmax", "probabilities", "sigmoid"):
            self.entropy = block.new_zeros([size for dim, size in enumerate(shape) if dim != self.dim])
        if self.entropy is not None and (units == 1 or not self.binary):
            self.votes = block.new_zeros(shape)
        if self.gathering.keep_samples:
            self.samples = block.new_full((self.gathering.samples, *shape), torch.nan)
        if self.transform == "sigmoid" and math.prod(block.shape[1:]) >= _MANY_ENTRIES:
            low, high = block.aminmax()  # of the sigmoids of 0 and 1, the ends of what is a probability
            self.looks_transformed_twice = bool((low >= 0.5) & (high <= 0.73106) & (low < high))

    def prediction(self) -> MCPrediction:
        """The moments so far."""
        assert self.used is not None
        mean, used = self.moments.mean, self.used.clamp(min=1)
        count = _beside(used, mean)
        variance = (self.moments.squares / count).clamp(min=0)
        std = variance.sqrt()
        if self.noise is not None:
            variance = variance + self.noise / count
        variance = variance + self.gathering.noise_variance
        predictive = expected = mutual = None
        if self.entropy is not None:
            predictive = entropy(mean, self.dim, self.binary)
            expected = self.entropy / _beside(used, self.entropy)
            mutual = (predictive - expected).clamp(min=0)
        return MCPrediction(
            *(mean, std, variance, self.used, predictive, expected, mutual, self._variation(used), self.samples),
            class_dim=self.gathering.class_dim,
        )

    def _variation(self, used: Tensor) -> Tensor | None:
        """The share of the samples that do not vote for the class most of them vote for."""
        if self.votes is None:
            return None
        share = self.votes / _beside(used, self.votes)
        if self.binary:
            share = share if self.dim is None else share.squeeze(self.dim)
            return torch.minimum(share, 1 - share)
        assert self.dim is not None
        return 1 - share.amax(self.dim)


def _beside(counts: Tensor, values: Tensor) -> Tensor:
    """Counts of rows, shaped so that they divide values (rows, ...)."""
    return counts.view(-1, *[1] * (values.ndim - 1))
