"""Monte Carlo prediction with any module that has dropout."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regtorch.errors import NothingBoundError, RegtorchError, SettingError
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.device_check import devices_named
from regtorch.mc.differing_samples import check_samples_differ, compared, nothing_sampled
from regtorch.mc.dropouts import cannot_draw, counted_kinds, has_dropout
from regtorch.mc.execute import Executor, ReplanNeeded
from regtorch.mc.graph import OTHER_STEPS, reason_of
from regtorch.mc.memory import Memory
from regtorch.mc.model_state import check_materialized, signature, unchanged, unwrapped
from regtorch.mc.module_calls import exclusively
from regtorch.mc.noise_sites import NoiseFound, NoiseSearch, NoiseSite, Only
from regtorch.mc.output_rows import check_rows, dim_of_rows
from regtorch.mc.output_selection import Output, check_output
from regtorch.mc.output_transform import Transform, looks_like_probabilities, outcome, warn_of_probabilities
from regtorch.mc.plan_cache import Plan, PlanCache
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.probe import FEW, Probe, few_rows, switched_on
from regtorch.mc.progress import ProgressBar
from regtorch.mc.recording import GuardError
from regtorch.mc.sampler import Sampler
from regtorch.mc.totals import Gathering, Totals
from regtorch.mc.watch import saved_random_state, training_mode_of
from regtorch.settings import CLASS_DIM, COUNT, COUNT_FROM_TWO, NON_NEGATIVE, POSITIVE, SEED, SWITCH, one_of
from regtorch.tensor_ops.arguments import check_module

#: with a tolerance, rows are looked at again after each further so many samples
CHECK_EVERY = 16
#: bytes that a layer may write at a time, unless `max_batch` sets the number of rows; more is slower, as it leaves the caches
WORKING_SET = 16 * 2**20
#: rows that are taken at a time even where that needs more
_FEWEST_ROWS = 32


class MCPredictor:
    """Predicts by the moments over several forward passes with dropout on and everything else in eval mode.

    The model is split at its dropouts: what none of them reaches runs once, the rest once for each sample, as many
    rows and samples at a time as memory allows. Dropout counts as a module (regtorch's, torch's, ``DropPath``, what
    `count_as_dropout` registers), as a call ``F.dropout(x, training=self.training)``, and inside attention,
    transformer and recurrent layers. A model that cannot be split is sampled whole, with one warning.

    Where what a model runs depends on the numbers in its batch (``if h.mean() > 0:``), samples go through it one by one,
    each with the complete batch, as in a plain loop.

    Sample t is one thinned network: with ``masks="shared"`` its masks have no batch dimension, hold for every row and
    depend on (seed, dropout, t) alone, so a row's result does not depend on the batch it comes in; the dropout counts
    by its qualified name in the model (``"features.3"``). With ``masks="independent"`` each row has its own draws, reproducibly
    for the same batches only. The model's modes and buffers and the global random state are as before afterwards, also
    after an exception.

    Args:
        model: any module.
        samples: number of forward passes, >= 1.
        transform: of the model's output: ``"softmax"`` over at least two classes, ``"sigmoid"`` (one logit, or one for
            each label), ``"probabilities"`` where the model ends in one of them itself, None, a function of the output
            that treats rows alike, or ``"gaussian"``: the output is means and logarithms of variances, side by side in
            the dimension of the classes, as a pair, or named ``mean`` and ``log_var``.
        seed: of the masks.
        tolerance: a row stops when the standard error of its mean is below this in every entry, looked at after
            `min_samples` and then after every 16 more; None takes all samples.
        masks: ``"shared"`` or ``"independent"``.
        min_samples: how many samples a row takes at least when there is a tolerance, >= 2.
        max_batch: rows times samples in one forward pass, and all rows where they depend on each other; None: chosen by
            the size of the model's layers, never by the number of samples.
        keep_samples: whether the prediction holds the samples themselves, too.
        noise_variance: of the targets around the model's output, added to the predictive variance.
        progress: whether a bar is shown; None: on a terminal when it takes more than two seconds.
        only: which of the noise is sampled, all else stays in eval mode: a glob over module names (``"head*"``), a class
            or a module, a function of (name, module), or several of them; None: all that is found.
        where: the same under the name that penalties and constraints use; give one of the two.
        batch_dim: the dimension of the rows in the tensors of a batch, such as 1 of (length, batch, features), and in the
            model's output, unless it has them first; predictions have them first.
        output: which part of the model's output is predicted: a key, a place in a tuple, or a function; None: its
            ``logits``, or the only tensor there is. A transform function is given all of the output if it is None.
        class_dim: the dimension of the classes: 1, as in (rows, classes, height, width), -1 of tokens (rows, length,
            classes); None: there is none, and with ``"sigmoid"`` each entry is a binary prediction of its own.

    Raises:
        SettingError: a value outside its range.
        NothingBoundError: the model has no dropout, or all samples are identical in all rows.

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
        only: Only = None,
        where: Only = None,
        batch_dim: int = 0,
        output: Output = None,
        class_dim: int | None = 1,
    ) -> None:
        check_module(model)
        COUNT.check("samples", samples)
        SEED.check("seed", seed)
        one_of("shared", "independent").check("masks", masks)
        if tolerance is not None:
            POSITIVE.check("tolerance", tolerance)
        if not callable(transform):
            one_of("softmax", "probabilities", "sigmoid", "gaussian", None).check("transform", transform)
        COUNT_FROM_TWO.check("min_samples", min_samples)  # one has no spread
        if max_batch is not None:
            COUNT.check("max_batch", max_batch)
        SWITCH.check("keep_samples", keep_samples)
        if progress is not None:
            SWITCH.check("progress", progress)
        NON_NEGATIVE.check("noise_variance", noise_variance)
        if isinstance(batch_dim, bool) or not isinstance(batch_dim, int):
            raise SettingError(f"batch_dim={batch_dim} is not allowed: it must be the number of a dimension")
        check_output(output)
        CLASS_DIM.check("class_dim", class_dim)
        self.model = unwrapped(model)
        if not has_dropout(self.model) and cannot_draw(self.model):
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
        if only is not None and where is not None:
            raise SettingError("only= and where= are both given, and mean the same: give one of them")
        self.only = where if only is None else only
        self.batch_dim = batch_dim
        self.output = output
        self.class_dim = class_dim
        self._plans = PlanCache()
        self._warned: set[str] = set()

    def __call__(self, *inputs: Any, **keywords: Any) -> MCPrediction:
        """The moments of the predictions of a batch (batch, ...); further arguments as the model takes them.

        Tensors with as many rows as the first one belong to the batch, also within dicts, lists and other containers;
        others go into every forward pass as they are.
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
        with exclusively(), torch.inference_mode(False), torch.no_grad(), saved_random_state(None):
            batch = BatchArgs(inputs, keywords, self.batch_dim)
            check_materialized(self.model)
            with unchanged(self.model, watching=False) as memory, devices_named(self.model, batch.tensors):
                return self._predicted(batch, first_row, memory)

    def _predicted(self, batch: BatchArgs, first_row: int, memory: Memory) -> MCPrediction:
        if batch.rows == 0:
            return self._nothing(batch)
        plan = self._plan(batch)
        for _ in range(3):
            try:
                return self._sampled_by(plan, batch, first_row, memory)
            except ReplanNeeded:  # other rows took another path: all of them together, sample by sample
                plan.partition = replace(plan.partition, rows_together=True, folds_samples=False, watches_all=True)
            except GuardError:
                self._plans.discard(plan.kind)
                plan = self._plan(batch)
            except (RegtorchError, ArithmeticError, OSError, MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # its code took a path that the recorded graph does not have
                if plan.partition.model_graph.recorded is None:
                    raise
                name, reason = type(self.model).__name__, reason_of(error, OTHER_STEPS)
                self._warn(f"{name} is sampled whole, as it could not be split: {reason}")
                kind, plan = plan.kind, self._made(batch, single=True)
                self._plans.replace(kind, plan)
        return self._sampled_by(self._made(batch, fixed=True), batch, first_row, memory)

    def _sampled_by(self, plan: Plan, batch: BatchArgs, first_row: int, memory: Memory) -> MCPrediction:
        totals = self._totals(batch.rows)
        part = plan.partition
        runner = Executor(self.model, plan.sampler, part, plan.finish, memory)
        plan.sampler.native = batch.first.device if plan.is_native else None
        with (
            switched_on(self.model, plan.found, plan.sampler),
            ProgressBar(batch.rows * self.samples, self.progress) as bar,
        ):
            rows_at_once = self._at_once(max(part.bytes_upstream, part.bytes_downstream), batch.rows)
            if part.fixed or part.rows_depend or (part.rows_together and self.max_batch is None):
                rows_at_once = batch.rows  # what happens to a row may depend on all others
            if part.rows_depend and self.max_batch is not None and self.max_batch < batch.rows:
                self._warn(f"the rows of {type(self.model).__name__} depend on each other: all {batch.rows} of a batch go "
                           f"through together, which is more than max_batch={self.max_batch}")  # fmt: skip
            for start in range(0, batch.rows, rows_at_once):
                stop = min(start + rows_at_once, batch.rows)
                values = runner.run_upstream(batch.narrow(start, stop))
                for rows, block in self._sampled(runner, values, start, stop, first_row, totals):
                    totals.add(block, rows)
                    bar.advance(block.shape[0] * block.shape[1])
            if totals.are_identical():
                self._check_samples_differ(plan, batch.narrow(start, stop))
        self._plans.note_numbers(plan, self.model)
        if totals.looks_transformed_twice:
            self._warn_of_probabilities()
        return totals.prediction()

    def _check_samples_differ(self, plan: Plan, batch: BatchArgs) -> None:
        noise = [site.name or site.kind for site in plan.found.sites if site.sampled]
        finish = compared(self.transform, self.output, self.class_dim, plan.finish)
        text = check_samples_differ(self.model, plan.sampler, plan.partition, finish, batch, noise)
        if text:
            self._warn(text)

    def _totals(self, rows: int) -> Totals:
        what = Gathering(self.transform, self.class_dim, self.samples, self.keep_samples, self.noise_variance)
        return Totals(what, rows)

    def _outcomes(self, batch: BatchArgs) -> Callable[[Any], Tensor]:
        """What turns the model's outputs for such batches into predictions; the first one is looked at."""
        rows_at = dim_of_rows(self.model, batch, self.transform, self.output)
        looked = self.transform != "softmax"

        def predictions(output: Any) -> Tensor:
            nonlocal looked
            if not looked:
                looked = True
                if looks_like_probabilities(output, self.output, self.class_dim, rows_at):
                    self._warn_of_probabilities()
            return outcome(output, self.transform, self.output, self.class_dim, rows_at)

        return predictions

    def _warn_of_probabilities(self) -> None:
        if "probabilities" not in self._warned:
            self._warned.add("probabilities")
            warn_of_probabilities(type(self.model).__name__, str(self.transform))

    def __repr__(self) -> str:
        shown = ("samples", "transform", "seed", "tolerance", "masks", "output", "class_dim")
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"MCPredictor({type(self.model).__name__}, {settings})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_plans": PlanCache()}  # made again where a copy is used

    @property
    def reused(self) -> float | None:
        """The share of a forward pass's work that was done once for all samples; None before the first prediction; of the last one."""
        plan = self._plans.last
        return None if plan is None else plan.partition.reused

    @property
    def sampled_modules(self) -> tuple[NoiseSite, ...]:
        """What was found to draw random numbers in the last prediction, and where; empty before the first."""
        plan = self._plans.last
        return () if plan is None else plan.found.sites

    def _plan(self, batch: BatchArgs) -> Plan:
        settings = self.seed, self.masks, self.transform, self.output, self.class_dim
        plan = self._plans.find(self.model, batch, (signature(self.model), *settings, self._chosen()))
        if plan is None:
            plan = self._made(batch)
            self._plans.add(plan, batch)
        return plan

    def _chosen(self) -> object:
        return self.only if isinstance(self.only, str) else id(self.only), self.batch_dim, counted_kinds()

    def _made(self, batch: BatchArgs, fixed: bool = False, single: bool = False) -> Plan:
        sampler = Sampler(self.seed, self.masks == "shared")
        found = self._found(sampler, batch)
        if not any(site.sampled for site in found.sites):
            raise NothingBoundError(nothing_sampled(self.model))
        sampler.python_random = bool(found.python_random)
        finish = self._outcomes(batch)
        part = Probe(self.model, sampler, batch, found, finish, self._warn).partition(fixed, single)
        return Plan(part, sampler, found, finish)

    def _found(self, sampler: Sampler, batch: BatchArgs) -> NoiseFound:
        """What draws in the model, seen on a few rows, or on all where it does not take a few."""
        few = few_rows(batch, FEW)
        try:
            found = NoiseSearch(self.model, sampler, few, self._warn).find(self.only)
        except (NothingBoundError, SettingError):
            raise
        except Exception:
            return NoiseSearch(self.model, sampler, batch, self._warn).find(self.only)
        if not any(site.sampled for site in found.sites) and batch.rows > FEW:
            found = NoiseSearch(self.model, sampler, batch, self._warn).find(self.only)
        return found

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=_stack_level())

    def _at_once(self, bytes_per_row: float, rows: int) -> int:
        """How many rows, of all samples together, go through a part of the model at a time."""
        if self.max_batch is not None:
            return max(1, min(self.max_batch, rows))
        return max(1, min(rows, max(_FEWEST_ROWS, int(WORKING_SET / bytes_per_row))))

    def _sampled(
        self, runner: Executor, values: dict[Any, Any], start: int, stop: int, first_row: int, totals: Totals
    ) -> Iterator[tuple[slice | Tensor, Tensor]]:
        """Blocks (samples, rows, ...) of predictions of the rows from `start` to before `stop`, and which rows."""
        part = runner.partition
        rows: slice | Tensor = slice(start, stop)
        active, taken, kept_of_all = stop - start, 0, None
        while taken < self.samples and active:
            at_once = (
                self._at_once(runner.bytes_of(active), active * self.samples) // active if part.folds_samples else 1
            )
            at_once = max(1, at_once)
            until = self._next_check(taken)
            if weights := runner.bytes_of_weights(active):
                at_once = max(1, min(at_once, WORKING_SET // weights))
            count = min(at_once, until - taken)
            run = active if kept_of_all is None else stop - start
            predicted = runner.run_downstream(values, range(taken, taken + count), run, first_row + start)
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
                    if part.rows_together:
                        kept_of_all = rows - start
                    else:
                        values = runner.rows_of(values, kept)

    def _next_check(self, taken: int) -> int:
        """The number of samples after which rows are looked at next."""
        if self.tolerance is None:
            return self.samples
        if taken < self.min_samples:
            return min(self.min_samples, self.samples)
        return min(taken + CHECK_EVERY, self.samples)

    def _nothing(self, batch: BatchArgs) -> MCPrediction:
        """The result for no rows at all, which has the shape of others."""
        totals = self._totals(0)
        with training_mode_of(self.model, ()):
            one = batch.with_a_row()  # not every model takes none, and the size of an empty output is not known
            predicted = self._outcomes(one)(self.model(*one.args, **one.kwargs))
        totals.add(predicted[None, :0], slice(0, 0))
        return totals.prediction()


def _stack_level() -> int:
    """How far up the caller of the library is, so that a warning names the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("regtorch.mc"):
        frame, level = frame.f_back, level + 1
    return level
