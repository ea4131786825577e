"""Trying a model on a few rows, to find out how it can be sampled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import NothingBoundError
from regtorch.mc.allclose_scaled import allclose_scaled
from regtorch.mc.any_rows import for_any_rows
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.differing_samples import nothing_sampled
from regtorch.mc.dropouts import is_dropout
from regtorch.mc.execute import Executor, evaluated
from regtorch.mc.graph import OTHER_RESULT, ModelGraph, Recorded, UntraceableError, called, reason_of, traced
from regtorch.mc.in_place import Versions
from regtorch.mc.memory import WRITES, Memory
from regtorch.mc.model_state import unchanged
from regtorch.mc.noise_sites import NoiseFound
from regtorch.mc.output_rows import check_rows
from regtorch.mc.partition import Partition, Values, part_of, partition, size_of, work_of
from regtorch.mc.recording import recorded
from regtorch.mc.sampler import Sampler
from regtorch.mc.watch import training_mode_of

#: numbers of rows that a model is tried with
FEW, MANY = 2, 3
#: samples that are tried where they do not meet the same dropouts, and those without a new one after which that ends
_MOST_SAMPLES, _NOTHING_NEW = 64, 16


class Probe:
    """Tries one model for batches of one kind.

    Args:
        model: any module.
        sampler: draws the noise; it learns where the rows are at each dropout.
        batch: a batch of the kind.
        found: what draws in the model.
        finish: turns the model's output into predictions (rows, ...).
        warn: called with each warning.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler,
        batch: BatchArgs,
        found: NoiseFound,
        finish: Callable[[Any], Tensor],
        warn: Callable[[str], None],
    ) -> None:
        self.model, self.sampler, self.batch, self.found = model, sampler, batch, found
        self.finish, self.warn = finish, warn
        #: whether the model writes into its own tensors
        self.writes = False
        self.few, self.many = (few_rows(batch, rows) for rows in (FEW, MANY))

    def partition(self, fixed: bool = False, single: bool = False) -> Partition:
        """How the model is sampled.

        Args:
            fixed: for batches of these shapes only, all rows together.
            single: as one piece, all rows together.

        Raises:
            NothingBoundError: noise does not reach the output.
            SettingError: the predictions have no row for each example.
        """
        with switched_on(self.model, self.found, self.sampler):
            if single:
                result = self._fixed_partition(called(self.batch), self._noted_of_one_node())
            elif fixed or self.batch.is_one_piece or not self._takes_few_rows():
                result = self._fixed()
            else:
                result = self._general()
        if self.writes:  # the writes of each sample have to be seen, too
            result = replace(result, watches_all=True)
        if not result.samples_output:
            raise NothingBoundError(nothing_sampled(self.model))
        return result

    def _takes_few_rows(self) -> bool:
        """Whether the model takes a part of the batch's rows; graphs and other models do not."""
        try:
            self._plainly(self.few)
            self._plainly(self.many)
        except Exception:
            self._plainly(self.batch)  # if it fails too, its own error is the one to show
            return False
        return True

    # --- any number of rows ---

    def _general(self) -> Partition:
        sampler, few, many, batch = self.sampler, self.few, self.many, self.batch
        sampler.forget_layouts()
        depending, shaped = sampler.read + sampler.shaped, sampler.shaped
        shapes = [self._plainly(rows)[1] for rows in (few, many)]
        sampler.learn(shapes[0], shapes[1], (FEW, MANY))
        shaped_by_numbers = sampler.shaped > shaped  # then an intermediate value may have other rows than the batch
        if sampler.read + sampler.shaped > depending and batch.rows > MANY:  # other rows may meet other dropouts
            fewer = batch.rows - 1
            shapes = [self._plainly(rows)[1] for rows in (batch.narrow(0, fewer), batch)]
            sampler.learn(shapes[0], shapes[1], (fewer, batch.rows))
        self._check_blocks()
        wanted = self._two_samples(few)
        if sampler.shapes.keys() != sampler.layouts.keys():
            self._learn_of_other_samples()
            self._check_blocks()
            wanted = self._two_samples(few)
        part, reason = self._split(wanted)
        if part.fixed:
            return part
        if reason and not _is_one_piece(self.model):
            self.warn(f"{type(self.model).__name__} is sampled whole, as it could not be split: {reason}")
        each_for_itself = part.reads_sampled or sampler.python_random or shaped_by_numbers
        folds = sampler.foldable and not each_for_itself and self._folds(part, wanted)
        part = replace(part, folds_samples=folds)
        if self._rows_depend():
            part = replace(part, rows_together=True, folds_samples=False, rows_depend=True)
        return part

    def _check_blocks(self) -> None:
        """Give each row its own draws where its place is a block of entries that does not hold it alone."""
        if self.sampler.shared and not self._rows_stand_alone() and self.sampler.give_up_blocks():
            name = type(self.model).__name__
            self.warn(
                f"the rows of {name} cannot be found in the input of every dropout: there each row has its own draws"
            )

    def _learn_of_other_samples(self) -> None:
        """Learn where the rows are at dropouts that some samples do not meet, as they drop the layers that hold them."""
        sampler, nothing_new = self.sampler, 0
        for sample in range(1, _MOST_SAMPLES):
            shapes = self._plainly(self.few, range(sample, sample + 1))[1]
            nothing_new = nothing_new + 1 if shapes.keys() <= sampler.layouts.keys() else 0
            if nothing_new == _NOTHING_NEW:
                return
            if not nothing_new:
                many = self._plainly(self.many, range(sample, sample + 1))[1]
                sampler.learn(shapes, many, (FEW, MANY))

    def _split(self, wanted: list[Tensor]) -> tuple[Partition, str]:
        """The partition, and why the model stays one piece, if it does."""
        part, reason = None, "it draws from Python's or NumPy's generator"
        if not self.found.python_random:
            try:
                part = self._checked(self._interpreted(traced(self.model, self.few)), self.few, wanted)
                if not any(_hides_modules(part.modules[n]) for n in part.downstream if n in part.opaque):
                    return part, ""
            except Exception as error:  # any error: sampled whole, the model still predicts
                reason = reason_of(error)
        if not is_leaf(self.model):
            for graph in (partial(self._recorded_for_any_rows, wanted), self._fixed_graph):
                try:
                    return graph(), ""
                except Exception as error:
                    reason = reason_of(error)
        if part is not None:
            return part, ""
        return self._interpreted(called(self.few)), reason

    def _recorded_for_any_rows(self, wanted: list[Tensor]) -> Partition:
        """The partition of a graph that is recorded on two batches."""
        one_piece = self.found.python_random
        few, many = (recorded(self.model, rows, self.sampler, one_piece) for rows in (self.few, self.many))
        part = self._checked(self._interpreted(for_any_rows(few, many, (FEW, MANY))), self.few, wanted)
        further = self.batch.take(torch.arange(MANY + 2) % self.batch.rows)
        return self._checked(part, further, self._two_samples(further))

    def _interpreted(self, graph: ModelGraph) -> Partition:
        """The partition of a graph for any number of rows."""
        nodes = list(graph.graph.nodes)
        _, first = self._interpret(graph, self.few)
        left = [change for change in first.changes if not change.taken_over_by_uses(nodes)]
        seen = [self._interpret(graph, rows) for rows in (self.few, self.many)]
        noted = seen[1][1]
        noted.firing |= seen[0][1].firing
        noted.reading |= seen[0][1].reading
        values = seen[0][0], seen[1][0]
        return partition(self.model, self.sampler, graph, self.found.active, noted, left, values, (FEW, MANY))

    def _interpret(self, graph: ModelGraph, batch: BatchArgs) -> tuple[Values, Recorded]:
        """Run every node, as the model does."""
        with unchanged(self.model) as memory, self.sampler.drawing():
            return self._run_nodes(graph, batch, memory)

    def _run_nodes(self, graph: ModelGraph, batch: BatchArgs, memory: Memory) -> tuple[Values, Recorded]:
        sampler, noted = self.sampler, Recorded()
        sampler.begin(range(1), batch.rows)
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        values: Values = dict(zip(placeholders, batch.clone().tensors, strict=True))
        nodes = [node for node in graph.graph.nodes if node.op not in ("placeholder", "output")]
        modules = {n: part_of(self.model, str(n.target)) for n in nodes if n.op == "call_module"}
        versions = Versions(values)
        in_one_node = any(node.target == "" for node in nodes)
        for node in nodes:
            fired, drawn, read, shaped = sampler.fired, sampler.inside, sampler.read, sampler.shaped
            sampler.keeps_inputs, written = False, len(memory.log)
            values[node] = evaluated(node, values, self.model, sampler, modules, graph.constants)
            if not in_one_node and memory.wrote_outside(written, modules.get(node)):
                raise UntraceableError(WRITES)
            own_code = node in modules and not type(modules[node]).__module__.startswith("torch.nn.")
            if sampler.fired > fired:
                noted.firing.add(node)
            if sampler.inside > drawn:
                noted.inside.add(node)
            # torch's own functions and layers read numbers to check them; what is run depends on them in other code
            if sampler.shaped > shaped or (sampler.read > read and (own_code or not size_of(values[node]))):
                noted.reading.add(node)
            noted.changes += versions.changes_by(node)
            noted.sizes[node] = size_of(values[node])
            noted.work[node] = work_of(node, values, modules)
        if not in_one_node and memory.is_written_unseen():
            raise UntraceableError(WRITES)
        return values, noted

    def _checked(self, part: Partition, batch: BatchArgs, wanted: list[Tensor]) -> Partition:
        """The partition with what it changes in place, after it gave the same numbers as the model in two samples."""
        sites = self._plainly(batch)[1].keys()
        runner = Executor(self.model, self.sampler, part, self.finish)
        with unchanged(self.model), self.sampler.drawing():
            inputs = batch.clone()
            versions = [v._version for v in inputs.tensors]
            values = runner.run_upstream(inputs)
            changes_inputs = versions != [v._version for v in inputs.tensors]
            tensors = [v for v in values.values() if isinstance(v, Tensor)]
            versions = [v._version for v in tensors]
            self.sampler.shapes = {}
            self._check_sample(runner, values, batch, 0, wanted)
            if self.sampler.shapes.keys() != sites:
                raise UntraceableError(OTHER_RESULT)
            changes_frontier = part.changes_frontier or versions != [v._version for v in tensors]
        part = replace(part, changes_inputs=changes_inputs, changes_frontier=changes_frontier)
        runner = Executor(self.model, self.sampler, part, self.finish)
        with unchanged(self.model) as memory, self.sampler.drawing():
            runner.memory = memory
            samples = [1]  # the first one was run from the same values
            if changes_frontier or changes_inputs:
                values, samples = runner.run_upstream(batch.clone()), [0, 1]
            for sample in samples:
                self._check_sample(runner, values, batch, sample, wanted)
            if part.folded:
                part = self._folded(part, runner, values, batch, wanted)
        return part

    def _check_sample(
        self, runner: Executor, values: Values, batch: BatchArgs, sample: int, wanted: list[Tensor]
    ) -> None:
        found = runner.run_downstream(values, range(sample, sample + 1), batch.rows, watched=False)
        if not allclose_scaled(found, wanted[sample]):
            raise UntraceableError(OTHER_RESULT)

    def _folded(
        self, part: Partition, runner: Executor, values: Values, batch: BatchArgs, wanted: list[Tensor]
    ) -> Partition:
        """The partition without noise in weights if that gives other numbers."""
        runner.folds_always = not part.changes_frontier
        again = runner.run_downstream(values, range(1), batch.rows, watched=False)
        if part.changes_frontier or not allclose_scaled(again, wanted[0]):
            return replace(part, folded={}, bytes_folded={})
        return part

    def _folds(self, part: Partition, wanted: list[Tensor]) -> bool:
        runner = Executor(self.model, self.sampler, part, self.finish)
        try:
            with unchanged(self.model), self.sampler.drawing():
                values = runner.run_upstream(self.few.clone())
                found = runner.run_downstream(values, range(2), FEW, watched=False)
            return allclose_scaled(found, torch.cat(wanted))
        except Exception:  # a model that takes one batch at a time only
            return False

    # --- the rows of one batch together ---

    def _fixed(self) -> Partition:
        sampler = self.sampler
        sampler.forget_layouts()
        shapes = self._plainly(self.batch)[1]
        sampler.as_called |= shapes.keys()
        sampler.learn(shapes, shapes, (self.batch.rows, self.batch.rows))
        try:
            return self._fixed_graph()
        except Exception as error:
            if not _is_one_piece(self.model):
                self.warn(f"{type(self.model).__name__} is sampled whole, as it could not be split: {reason_of(error)}")
            return self._fixed_partition(called(self.batch), self._noted_of_one_node())

    def _fixed_graph(self) -> Partition:
        """The partition of a graph that is recorded on the batch."""
        one_piece = self.found.python_random
        graph = recorded(self.model, self.batch, self.sampler, one_piece)
        assert graph.recorded is not None
        part = self._fixed_partition(graph, graph.recorded)
        return self._checked(part, self.batch, self._two_samples(self.batch))

    def _fixed_partition(self, graph: ModelGraph, noted: Recorded) -> Partition:
        rows = max(1, self.batch.rows)
        left = [change for change in noted.changes if not change.is_result]
        return partition(self.model, self.sampler, graph, self.found.active, noted, left, None, (rows, rows))

    def _noted_of_one_node(self) -> Recorded:
        graph = called(self.batch)
        (node,) = (n for n in graph.graph.nodes if n.op == "call_module")
        return Recorded(firing={node}, inside={node}, sizes={node: 0}, work={node: 1.0})

    # --- plain passes ---

    def _plainly(self, batch: BatchArgs, samples: range = range(1)) -> tuple[Tensor, dict[str, tuple[int, ...]]]:
        """The model's predictions as it stands, and the dropouts it met."""
        self.sampler.shapes = {}
        self.sampler.begin(samples, batch.rows)
        copy = batch.clone()
        with unchanged(self.model) as memory, self.sampler.drawing():  # it starts as it is each time
            output = self.model(*copy.args, **copy.kwargs)
            self.writes |= bool(memory.log) or memory.is_written_unseen()
        predicted = self.finish(output)
        check_rows(predicted, batch.rows)
        return predicted, self.sampler.shapes

    def _two_samples(self, batch: BatchArgs) -> list[Tensor]:
        return [self._plainly(batch, range(t, t + 1))[0] for t in (0, 1)]

    def _rows_stand_alone(self) -> bool:
        """Whether a row's sample is the same alone and in a batch."""
        together = self._plainly(self.few)[0]
        try:
            alone = self._one_by_one(self.few)
        except Exception:  # as batch normalization by the batch itself refuses a single row
            return False
        return allclose_scaled(alone, together)

    def _rows_depend(self) -> bool:
        """Whether a row's prediction depends on the others of its batch, as far as a trial shows."""
        sampler, shared, few = self.sampler, self.sampler.shared, self.few.shaken()
        sampler.shared = True
        try:
            together = self._plainly(few)[0]
        except Exception:  # such numbers may not be allowed
            sampler.shared = shared
            return False
        try:
            if allclose_scaled(self._one_by_one(few), together, roughly=True):
                return False
            sampler.neutral = True  # was it the noise?
            together, again = (self._plainly(few)[0] for _ in range(2))
            same = allclose_scaled(together, again, roughly=True)
            return same and not allclose_scaled(self._one_by_one(few), together, roughly=True)
        except Exception:  # a single row is refused, for instance by batch normalization by the batch itself
            return True
        finally:
            sampler.shared, sampler.neutral = shared, False

    def _one_by_one(self, few: BatchArgs) -> Tensor:
        return torch.cat([self._plainly(few.take(torch.tensor([row])))[0] for row in range(FEW)])


def few_rows(batch: BatchArgs, rows: int) -> BatchArgs:
    """So many rows of a batch, some of them twice if need be; the batch itself if its rows cannot be taken apart."""
    return batch if batch.is_one_piece else batch.take(torch.arange(rows) % batch.rows)


def switched_on(model: nn.Module, found: NoiseFound, sampler: Sampler) -> AbstractContextManager[Any]:
    """The model in eval mode with its noise on and drawn by the sampler; as before afterwards."""
    stack = ExitStack()
    stack.enter_context(training_mode_of(model, found.active, found.settings))
    named = dict(model.named_modules())
    drawing = {named[site.name] for site in found.sites if site.sampled and site.name in named}
    stack.enter_context(sampler.in_place_of(model, found.active, drawing))
    return stack


def _hides_modules(module: nn.Module) -> bool:
    """Whether a module of users' own code, which could not be traced into, has parts that a recording may tell apart."""
    own = not type(module).__module__.startswith("regtorch.")
    return own and not is_dropout(module) and any(True for _ in module.children())


def is_leaf(model: nn.Module) -> bool:
    """Whether a model is a single layer or script, of which no graph can be had."""
    return isinstance(model, torch.jit.ScriptModule) or _is_one_piece(model)


def _is_one_piece(model: nn.Module) -> bool:
    """Whether a model is a layer of torch's or a dropout, where nothing is lost by sampling it whole."""
    return is_dropout(model) or (
        type(model).__module__.startswith("torch.nn.") and not isinstance(model, nn.Sequential)
    )
