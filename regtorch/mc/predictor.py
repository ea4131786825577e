"""Monte Carlo prediction with any module that has dropout."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regtorch.errors import NothingBoundError
from regtorch.mc.arguments import check_is_module
from regtorch.mc.dropouts import has_dropout, switched_on
from regtorch.mc.inputs import Inputs
from regtorch.mc.moments import RunningMoments
from regtorch.mc.outcome import Transform, entropy, outcome
from regtorch.mc.plan import Plan, TurnedOutOtherwiseError, check_rows
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.progress import ProgressBar
from regtorch.mc.sampler import Sampler
from regtorch.mc.staleness import numbers, signature
from regtorch.mc.unchanged import unchanged
from regtorch.settings import COUNT, COUNT_FROM_TWO, NON_NEGATIVE, POSITIVE, SEED, SWITCH, one_of

#: with a tolerance, rows are looked at again after each further so many samples
CHECK_EVERY = 16
#: bytes that a layer may write at a time, unless `max_batch` says how many rows; more is slower, as it leaves the caches
WORKING_SET = 16 * 2**20
#: rows that are taken at a time even where that needs more
_FEWEST_ROWS = 32
#: plans that are kept, one for each shape and type of rows
_KEPT_PLANS = 8
#: one prediction at a time: models are worked on and torch's random state is one for all threads
_LOCK = threading.RLock()


def _unlocked() -> None:
    global _LOCK  # what another thread held, nobody holds in a process that was forked meanwhile
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)


class MCPredictor:
    """Predicts by the moments over several forward passes with dropout on and everything else in eval mode.

    The model is split at its dropouts: what none of them reaches runs once, the rest once for each sample, as many
    rows and samples at a time as memory allows. Dropout counts as a module (regtorch's, torch's, ``DropPath``, what
    `count_as_dropout` registers), as a call ``F.dropout(x, training=self.training)``, and inside attention,
    transformer and recurrent layers. A model that cannot be split is sampled whole, and says so once.

    Where what a model runs depends on the numbers in its batch (``if h.mean() > 0:``), samples go through it one by one,
    each with the whole batch, as in a plain loop.

    Sample t is one thinned network: with ``masks="shared"`` its masks have no batch dimension, hold for every row and
    depend on (seed, dropout, t) alone, so a row's result does not depend on the batch it comes in; the dropout counts
    by its qualified name in the model (``"features.3"``). With ``masks="independent"`` each row draws anew, reproducibly
    for the same batches only. The model's modes and buffers and the global random state are as before afterwards, also
    after an exception.

    Args:
        model: any module.
        samples: number of forward passes, >= 1.
        transform: of the model's output: ``"softmax"`` (over dimension 1), ``"sigmoid"``, None, a function of the
            output that treats rows alike, or ``"gaussian"``: the output is means and logarithms of variances, side by
            side in dimension 1 or as a pair.
        seed: of the masks.
        tolerance: a row stops when the standard error of its mean is below this in every entry, looked at after
            `min_samples` and then after every 16 more; None takes all samples.
        masks: ``"shared"`` or ``"independent"``.
        min_samples: how many samples a row takes at least when there is a tolerance, >= 2.
        max_batch: rows times samples in one forward pass; None: chosen by the size of the model's layers, never by
            the number of samples.
        keep_samples: whether the prediction holds the samples themselves, too.
        noise_variance: of the targets around the model's output, added to the predictive variance.
        progress: whether a bar is shown; None: on a terminal when it takes more than two seconds.

    Raises:
        SettingError: a value outside its range.
        NothingBoundError: the model has no dropout.

    Source: Gal and Ghahramani, "Dropout as a Bayesian approximation", 2016; for ``"gaussian"`` Kendall and Gal, "What
    uncertainties do we need in Bayesian deep learning for computer vision?", 2017.

    Example:
        >>> import regtorch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), regtorch.Dropout(drop_prob=0.5), nn.Linear(8, 3))
        >>> out = MCPredictor(model, samples=20)(torch.zeros(2, 4))
        >>> out.mean.shape, out.samples_used
        (torch.Size([2, 3]), tensor([20, 20]))
    """

    def __init__(
        self,
        model: nn.Module,
        samples: int = 100,
        transform: Transform = "softmax",
        seed: int = 0,
        tolerance: float | None = None,
        masks: Literal["shared", "independent"] = "shared",
        *,
        min_samples: int = 16,
        max_batch: int | None = None,
        keep_samples: bool = False,
        noise_variance: float = 0.0,
        progress: bool | None = None,
    ) -> None:
        check_is_module(model)
        COUNT.check("samples", samples)
        SEED.check("seed", seed)
        one_of("shared", "independent").check("masks", masks)
        if tolerance is not None:
            POSITIVE.check("tolerance", tolerance)
        if not callable(transform):
            one_of("softmax", "sigmoid", "gaussian", None).check("transform", transform)
        COUNT_FROM_TWO.check("min_samples", min_samples)  # one has no spread
        if max_batch is not None:
            COUNT.check("max_batch", max_batch)
        SWITCH.check("keep_samples", keep_samples)
        if progress is not None:
            SWITCH.check("progress", progress)
        NON_NEGATIVE.check("noise_variance", noise_variance)
        self.model = unwrapped(model)
        if not has_dropout(self.model) and _is_transparent(self.model):
            raise NothingBoundError(
                f"{type(model).__name__} has no dropout layer, regtorch's or torch's: there is nothing to sample"
            )
        self.samples = int(samples)
        self.transform = transform
        self.seed = int(seed)
        self.tolerance = tolerance
        self.masks = masks
        self.min_samples = int(min_samples)
        self.max_batch = None if max_batch is None else int(max_batch)
        self.keep_samples = keep_samples
        self.noise_variance = noise_variance
        self.progress = progress
        self._plans: dict[object, Plan] = {}
        self._numbers: dict[object, object] = {}
        self._said: set[str] = set()
        self._planned_for: object = None

    def __call__(self, *inputs: Any, **keywords: Any) -> MCPrediction:
        """The moments of the predictions of a batch (batch, ...); further arguments as the model takes them.

        Tensors with as many rows as the first one belong to the batch, others go into every forward pass as they are.
        """
        return self.from_row(0, *inputs, **keywords)

    def from_row(self, first_row: int, /, *inputs: Any, **keywords: Any) -> MCPrediction:
        """The same of a batch that is a part of more rows, from this one on.

        With independent masks batches of the same data do not repeat each other's masks then.

        Example:
            >>> predictor = MCPredictor(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), masks="independent")
            >>> first, second = (predictor.from_row(row, torch.ones(4, 2)).mean for row in (0, 4))
            >>> torch.equal(first, second)
            False
        """
        with _LOCK, torch.inference_mode(False), torch.no_grad():
            batch = Inputs(inputs, keywords)
            with unchanged(self.model):
                kind, prediction = self._predicted(batch, first_row)
            if kind in self._plans:
                self._numbers[kind] = numbers(self.model)
            return prediction

    def _predicted(self, batch: Inputs, first_row: int) -> tuple[object, MCPrediction]:
        if batch.rows == 0:
            return None, self._nothing(batch)
        kind, plan = self._plan(batch)
        try:
            return kind, self._sampled_by(plan, batch, first_row)
        except TurnedOutOtherwiseError:
            return kind, self._sampled_by(plan, batch, first_row)

    def _sampled_by(self, plan: Plan, batch: Inputs, first_row: int) -> MCPrediction:
        totals = _Totals(self, batch.rows)
        with plan.on(), ProgressBar(batch.rows * self.samples, self.progress) as bar:
            rows_at_once = self._at_once(max(plan.bytes_before, plan.bytes_behind), batch.rows)
            if plan.rows_together and self.max_batch is None:  # what happens to a row may depend on all others
                rows_at_once = batch.rows
            if plan.rows_depend and rows_at_once < batch.rows:
                self._warn_of_cutting(batch.rows)
            for start in range(0, batch.rows, rows_at_once):
                stop = min(start + rows_at_once, batch.rows)
                values = plan.run_before(batch.narrow(start, stop))
                for rows, block in self._sampled(plan, values, start, stop, first_row, totals):
                    totals.add(block, rows)
                    bar.advance(block.shape[0] * block.shape[1])
        return totals.prediction()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_plans": {}, "_numbers": {}, "_planned_for": None}  # made anew where a copy is used

    @property
    def reused(self) -> float | None:
        """The share of a forward pass's work that was done once for all samples; None before the first prediction; of the last one."""
        plan = next(reversed(self._plans.values()), None)
        return None if plan is None else plan.reused

    def _plan(self, batch: Inputs) -> tuple[object, Plan]:
        now = signature(self.model), self.seed, self.masks, self.transform
        if now != self._planned_for:
            self._plans, self._numbers, self._planned_for = {}, {}, now
        device = batch.tensors[0].device.type
        kind = (*batch.kind(), torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device))
        plan = self._plans.pop(kind, None)
        if plan is not None and plan.constants and self._numbers.get(kind) != numbers(self.model):
            plan = None  # what was computed of the model's numbers when it was written down no longer holds
        if plan is None:
            sampler = Sampler(self.seed, self.masks == "shared")
            plan = Plan(self.model, sampler, batch, lambda output: outcome(output, self.transform), self._said)
        self._plans[kind] = plan  # the last one used stands last
        for old in list(self._plans)[:-_KEPT_PLANS]:
            del self._plans[old]
            self._numbers.pop(old, None)
        return kind, plan

    def _warn_of_cutting(self, rows: int) -> None:
        what = f"the rows of {type(self.model).__name__} depend on each other"
        if what not in self._said:
            self._said.add(what)
            warnings.warn(f"{what}, and max_batch={self.max_batch} cuts a batch of {rows} rows", stacklevel=6)

    def _at_once(self, bytes_per_row: float, rows: int) -> int:
        """How many rows, of all samples together, go through a part of the model at a time."""
        if self.max_batch is not None:
            return max(1, min(self.max_batch, rows))
        return max(1, min(rows, max(_FEWEST_ROWS, int(WORKING_SET / bytes_per_row))))

    def _sampled(
        self, plan: Plan, values: dict[Any, Any], start: int, stop: int, first_row: int, totals: _Totals
    ) -> Iterator[tuple[slice | Tensor, Tensor]]:
        """Blocks (samples, rows, ...) of predictions of the rows from `start` to before `stop`, and which rows."""
        rows: slice | Tensor = slice(start, stop)
        active, taken, kept_of_all = stop - start, 0, None
        while taken < self.samples and active:
            at_once = self._at_once(plan.bytes_of(active), active * self.samples) // active if plan.foldable else 1
            at_once = max(1, at_once)
            until = self._next_check(taken)
            if weights := plan.bytes_of_weights(active):
                at_once = max(1, min(at_once, WORKING_SET // weights))
            count = min(at_once, until - taken)
            run = active if kept_of_all is None else stop - start
            predicted = plan.run_behind(values, range(taken, taken + count), run, first_row + start)
            check_rows(predicted, count * run)
            if kept_of_all is not None:
                predicted = predicted[kept_of_all]
            totals.taken = taken
            yield rows, predicted.unflatten(0, (count, active))
            taken += count
            if self.tolerance is not None and taken == until and taken < self.samples:
                unsure = ~(totals.moments.standard_error(rows, taken) < self.tolerance)  # NaN is never sure
                if not unsure.all():
                    kept = unsure.nonzero()[:, 0]
                    numbers = torch.arange(start, stop, device=kept.device) if isinstance(rows, slice) else rows
                    rows, active = numbers[kept], len(kept)
                    if plan.rows_together:
                        kept_of_all = rows - start
                    else:
                        values = plan.rows_of(values, kept)

    def _next_check(self, taken: int) -> int:
        """The number of samples after which rows are looked at next."""
        if self.tolerance is None:
            return self.samples
        if taken < self.min_samples:
            return min(self.min_samples, self.samples)
        return min(taken + CHECK_EVERY, self.samples)

    def _nothing(self, batch: Inputs) -> MCPrediction:
        """The result for no rows at all, which has the shape of others."""
        totals = _Totals(self, 0)
        with switched_on(self.model), torch.random.fork_rng():
            one = batch.with_a_row()  # not every model takes none, and none has a size that could be told
            predicted = outcome(self.model(*one.args, **one.kwargs), self.transform)
        totals.add(predicted[None, :0], slice(0, 0))
        return totals.prediction()


def unwrapped(model: nn.Module) -> nn.Module:
    """The module within those that only run it: compiled ones and torch's data-parallel ones.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(linear)) is linear
        True
    """
    inner: Any
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = model.module
    else:
        inner = getattr(model, "_orig_mod", None)
    return model if inner is None else unwrapped(inner)


def _is_transparent(model: nn.Module) -> bool:
    """Whether all that a model does is done by torch's and regtorch's own modules, whose dropouts are known."""
    return all(type(module).__module__.startswith(("torch.nn.", "regtorch.")) for module in model.modules())


class _Totals:
    """What is gathered over the samples, row by row."""

    def __init__(self, predictor: MCPredictor, rows: int) -> None:
        self.predictor, self.rows = predictor, rows
        self.transform = predictor.transform
        self.moments = RunningMoments(rows)
        self.taken = 0
        self.used: Tensor | None = None

    def add(self, block: Tensor, rows: slice | Tensor) -> None:
        """Take in (samples, rows, ...) of these rows, which have all taken in `taken` before."""
        if self.used is None:
            self._start(block)
        assert self.used is not None
        if self.transform == "gaussian":
            means = block.shape[2] // 2
            block, noise = block[:, :, :means], block[:, :, means:].exp()
            self.noise[rows] += noise.sum(0)
        self.moments.add(block, rows, self.taken)
        if self.transform in ("softmax", "sigmoid"):
            flat = block.flatten(0, 1)
            self.entropy[rows] += entropy(flat, self.transform).unflatten(0, block.shape[:2]).sum(0)
        if self.transform == "softmax":
            self.votes[rows] += (block == block.amax(2, keepdim=True)).sum(0).to(self.votes.dtype)
        if self.samples is not None:
            self.samples[self.taken : self.taken + len(block), rows] = block
        self.used[rows] += len(block)

    def _start(self, block: Tensor) -> None:
        shape = (self.rows, *block.shape[2:])
        self.used = torch.zeros(self.rows, dtype=torch.long, device=block.device)
        self.entropy = block.new_zeros(self.rows)
        self.samples: Tensor | None = None
        if self.transform == "gaussian":
            shape = (self.rows, block.shape[2] // 2, *block.shape[3:])
            self.noise = block.new_zeros(shape)
        if self.transform == "softmax":
            self.votes = block.new_zeros(shape)
        if self.predictor.keep_samples:
            self.samples = block.new_full((self.predictor.samples, *shape), torch.nan)

    def prediction(self) -> MCPrediction:
        """The moments so far."""
        assert self.used is not None
        mean = self.moments.mean
        count = self.used.clamp(min=1).view(-1, *[1] * (mean.ndim - 1))
        variance = (self.moments.squares / count).clamp(min=0)
        std = variance.sqrt()
        if self.transform == "gaussian":
            variance = variance + self.noise / count
        variance = variance + self.predictor.noise_variance
        predictive = expected = mutual = variation = None
        if self.transform in ("softmax", "sigmoid"):
            predictive, expected = entropy(mean, self.transform), self.entropy / self.used.clamp(min=1)
            mutual = (predictive - expected).clamp(min=0)
        if self.transform == "softmax" and mean.ndim == 2:
            variation = 1 - (self.votes.amax(1) / self.used.clamp(min=1) if len(mean) else self.entropy)
        return MCPrediction(mean, std, variance, self.used, predictive, expected, mutual, variation, self.samples)
