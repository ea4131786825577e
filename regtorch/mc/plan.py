"""Splitting a model at its dropouts: what runs once, and what runs for every sample."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from regtorch.errors import NothingBoundError, SettingError
from regtorch.mc.alike import alike
from regtorch.mc.dropouts import has_dropout, is_dropout, is_of_torch, noise_of, strength, switched_on
from regtorch.mc.in_place import Change, Versions
from regtorch.mc.inputs import Inputs
from regtorch.mc.layout import Layout, mapped, value_layout
from regtorch.mc.own_dropout import that_drop_by_themselves
from regtorch.mc.sampler import Sampler, functional_dropout, is_affine, is_functional_dropout
from regtorch.mc.scaled_linear import scaled_linear
from regtorch.mc.tracing import UntraceableError, traced, whole
from regtorch.mc.unchanged import unchanged

#: numbers of rows that a model is tried with
_FEW, _MANY = 2, 3
Values = dict[fx.Node, Any]


class TurnedOutOtherwiseError(Exception):
    """Rows went another way through the model than those that it was tried with; the plan now knows."""


@dataclass
class _Seen:
    """What was seen of a graph's nodes when it ran.

    Args:
        values: of each node.
        firing: nodes that dropped something.
        inside: nodes that did so within other code.
        reading: nodes in which numbers became Python values or shapes, on which what is run may depend.
        changes: what nodes changed in place.
    """

    values: Values
    firing: set[fx.Node] = field(default_factory=set)
    inside: set[fx.Node] = field(default_factory=set)
    reading: set[fx.Node] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)


class Plan:
    """How one model is sampled for inputs of one kind. Made by trying it on a few rows, and checked on them.

    Args:
        model: any module.
        sampler: draws the noise.
        inputs: a batch of the kind.
        finish: turns the model's output into predictions (rows, ...).
        said: what users were told before, and are not told again.

    Raises:
        NothingBoundError: the model drops nothing.
        SettingError: it takes batches of one size only, or its predictions have no row for each example.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler,
        inputs: Inputs,
        finish: Callable[[Any], Tensor],
        said: set[str] | None = None,
    ) -> None:
        self.model, self.sampler, self.finish = model, sampler, finish
        self.said = set() if said is None else said
        few, many = (inputs.take(torch.arange(rows) % inputs.rows) for rows in (_FEW, _MANY))
        self.besides = that_drop_by_themselves(model, sampler, few)
        with self.on():
            self._refuse_fixed_batch(few, inputs)
            self._try(few, many, inputs)

    @contextmanager
    def on(self) -> Iterator[None]:
        """The model in eval mode with its dropouts on and computed by the sampler; as before afterwards."""
        with switched_on(self.model, self.besides), self.sampler.in_place_of(self.model):
            yield

    def _try(self, few: Inputs, many: Inputs, inputs: Inputs) -> None:
        sampler = self.sampler
        sampler.layouts, sampler.not_shared = {}, set()
        depending = sampler.read + sampler.shaped
        wanted = [self._plainly(few, range(1)), self._plainly(many, range(1))]
        sampler.learn(wanted[0][1], wanted[1][1], (_FEW, _MANY))
        if sampler.read + sampler.shaped > depending and inputs.rows > _MANY:  # other rows may meet other dropouts
            fewer = inputs.rows - 1
            wanted = [self._plainly(inputs.narrow(0, fewer), range(1)), self._plainly(inputs, range(1))]
            sampler.learn(wanted[0][1], wanted[1][1], (fewer, inputs.rows))
        if not sampler.layouts and not has_dropout(self.model):
            self._refuse_to_sample_nothing()
        if sampler.shared and not self._rows_stand_alone(few) and sampler.give_up_blocks():
            name = type(self.model).__name__
            self._say(f"the rows of {name} cannot be told apart at every dropout: there each draws anew")
        first, second = (self._plainly(few, range(t, t + 1))[0] for t in (0, 1))
        self.reason = ""
        self.constants: dict[str, Tensor] = {}
        self.scales_always = False
        self.rows_together = self.reads_sampled = self.output_is_sampled = False
        try:
            graph, self.constants = traced(self.model, few.args, few.kwargs)
            self.is_whole = False
            with sampler.drawing():
                self._split(graph, few, many)
                self._check(few, first)
        except Exception as error:  # whatever it is: sampled whole, the model gives what it gives
            self.reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            name = type(self.model).__name__
            if not _is_one_piece(self.model):
                self._say(f"{name} is sampled whole, as it could not be split: {self.reason}")
            self.is_whole, self.constants = True, {}
            with sampler.drawing():
                self._split(whole(few.args, few.kwargs), few, many)
        if not self.output_is_sampled:
            self._refuse_to_sample_nothing()
        self.foldable = sampler.foldable and not self.reads_sampled and self._folds(few, [first, second])
        self.rows_depend = self._rows_depend(few.shaken())
        if self.rows_depend:
            self.rows_together, self.foldable = True, False

    def _say(self, what: str) -> None:
        if what not in self.said:
            self.said.add(what)
            warnings.warn(what, stacklevel=7)

    def _refuse_to_sample_nothing(self) -> None:
        raise NothingBoundError(
            f"{type(self.model).__name__} has no dropout that drops something, regtorch's or torch's, as a layer, "
            "within one or as a call: there is nothing to sample; regtorch.mc.count_as_dropout makes a class count"
        )

    def _refuse_fixed_batch(self, few: Inputs, inputs: Inputs) -> None:
        """Say so where a model takes batches of one size only."""
        try:
            self._plainly(few, range(1))
        except Exception as error:
            self._plainly(inputs, range(1))  # if it fails too, its own error says more
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise SettingError(
                f"{type(self.model).__name__} takes a batch of {inputs.rows} rows but not of {few.rows} ({reason}): "
                "MC prediction needs a model for batches of any size"
            ) from error

    def _plainly(self, inputs: Inputs, samples: range) -> tuple[Tensor, dict[str, tuple[int, ...]]]:
        """The model's predictions as it stands, and the dropouts it met."""
        self.sampler.shapes = {}
        self.sampler.begin(samples, inputs.rows)
        copy = inputs.clone()
        with unchanged(self.model), self.sampler.drawing():  # it starts as it is each time
            output = self.model(*copy.args, **copy.kwargs)
        predicted = self.finish(output)
        check_rows(predicted, inputs.rows)
        return predicted, self.sampler.shapes

    def _rows_stand_alone(self, few: Inputs) -> bool:
        """Whether a row's sample is the same alone and in a batch."""
        together = self._plainly(few, range(1))[0]
        try:
            alone = self._one_by_one(few)
        except Exception:  # as batch normalisation by the batch itself refuses a single row
            return False
        return alike(alone, together)

    def _rows_depend(self, few: Inputs) -> bool:
        """Whether a row's prediction depends on the others of its batch, as far as that can be told."""
        sampler, shared = self.sampler, self.sampler.shared
        sampler.shared = True
        try:
            together = self._plainly(few, range(1))[0]
        except Exception:  # such numbers may not be allowed
            sampler.shared = shared
            return False
        try:
            if alike(self._one_by_one(few), together, roughly=True):
                return False
            sampler.neutral = True  # was it the noise?
            together, again = (self._plainly(few, range(1))[0] for _ in range(2))
            return alike(together, again, roughly=True) and not alike(self._one_by_one(few), together, roughly=True)
        except Exception:  # a single row is refused, for instance by batch normalisation by the batch itself
            return True
        finally:
            sampler.shared, sampler.neutral = shared, False

    def _one_by_one(self, few: Inputs) -> Tensor:
        return torch.cat([self._plainly(few.take(torch.tensor([row])), range(1))[0] for row in range(_FEW)])

    # --- splitting ---

    def _split(self, graph: fx.Graph, few: Inputs, many: Inputs) -> None:
        self.nodes = [node for node in graph.nodes if node.op != "placeholder"]
        self.placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        self.modules = {n: _part(self.model, str(n.target)) for n in self.nodes if n.op == "call_module"}
        noises = {node: noise_of(module) for node, module in self.modules.items()}
        self.noises = {node: noise for node, noise in noises.items() if noise is not None}
        # what these do may depend on the numbers: that a few rows dropped nothing there says nothing of others
        self.opaque = {n for n, module in self.modules.items() if n not in self.noises and not is_of_torch(module)}
        changes = self._interpret(few).changes
        left = [change for change in changes if not change.taken_over_by_uses(self.nodes)]
        seen = [self._interpret(inputs) for inputs in (few, many)]
        values, self.draws_inside = seen[1].values, seen[1].inside
        firing = seen[0].firing | seen[1].firing | {n for n in self.opaque if has_dropout(self.modules[n])}
        sampled: set[fx.Node] = set()
        for node in self.nodes:
            if node in firing or any(source in sampled for source in node.all_input_nodes):
                sampled.add(node)
        if not self.is_whole:
            self._refuse_other_order(seen[1].changes, left, sampled)
        (self.output,) = (node for node in self.nodes if node.op == "output")
        self.before = [n for n in self.nodes if n not in sampled and n is not self.output]
        self.behind = [n for n in self.nodes if n in sampled and n is not self.output]
        needed_behind = {source for node in (*self.behind, self.output) for source in node.all_input_nodes}
        self.frontier = [n for n in (*self.placeholders, *self.before) if n in needed_behind]
        self.layouts: dict[fx.Node, Any] = {}
        for node in self.frontier:
            self.layouts[node] = value_layout(seen[0].values[node], values[node], (_FEW, _MANY))
        reading = seen[0].reading | seen[1].reading
        self.rows_together, self.reads_sampled = bool(reading), bool(reading & sampled)
        self.output_is_sampled = any(source in sampled for source in self.output.all_input_nodes)
        self.linear = self._scaled_weights()
        self.dropped = set(self.linear.values())
        self.expanded = [n for n in self.frontier if not self._broadcasts(n)]
        self.bytes_before, self.bytes_behind = (self._bytes(part, values) for part in (self.before, self.behind))
        self.bytes_dropped = {n: _size(values[n]) / _MANY for n in self.dropped}
        self.work_before, self.work_behind = (_work(part, values, self.model) for part in (self.before, self.behind))
        self.changes_inputs, self.changes_frontier = False, self.is_whole
        self.last_use = _last_uses(self.before, set(self.frontier))
        self.last_use_behind = _last_uses(self.behind, set(self.output.all_input_nodes))

    def _interpret(self, inputs: Inputs) -> _Seen:
        """Run every node, as the model does."""
        sampler = self.sampler
        sampler.begin(range(1), inputs.rows)
        seen = _Seen(dict(zip(self.placeholders, inputs.clone().tensors, strict=True)))
        versions = Versions(seen.values)
        for node in self.nodes:
            fired, drawn, read, shaped = sampler.fired, sampler.inside, sampler.read, sampler.shaped
            seen.values[node] = value = self._value(node, seen.values, keeps_inputs=False)
            if sampler.fired > fired:
                seen.firing.add(node)
            if sampler.inside > drawn or (sampler.fired > fired and not self._is_known(node)):
                seen.inside.add(node)
            # torch's own functions and layers read numbers to check them; what is run depends on them in other code
            if sampler.shaped > shaped or (sampler.read > read and (node in self.opaque or not _size(value))):
                seen.reading.add(node)
            seen.changes += versions.changes_by(node)
        return seen

    def _refuse_other_order(self, changes: list[Change], left: list[Change], sampled: set[fx.Node]) -> None:
        """Raise where what runs once for all samples and what runs for each cannot change the same memory in turn."""
        order = {node: index for index, node in enumerate(self.nodes)}
        for change in changes:
            by, of = change.by, change.of
            earlier = any(user in sampled and order[user] < order[by] for user in of.users)
            if by not in sampled and earlier:
                raise UntraceableError(f"{by} changes in place what a dropout comes before")
        for change in left:
            by, of = change.by, change.of
            later = any(order[user] > order[by] for user in of.users)
            if by in sampled and later and (of not in sampled or self._is_known(by)):
                raise UntraceableError(f"{by} changes in place what {of} shares its memory with")

    def _is_known(self, node: fx.Node) -> bool:
        """Whether a node is a dropout that the sampler computes by itself."""
        return node in self.noises or (node.op == "call_function" and is_functional_dropout(node.target))

    def _dropped(self, node: fx.Node) -> Any:
        """What a dropout's node drops something of; None if it is no such node."""
        if self._is_known(node) and node.args and isinstance(node.args[0], fx.Node):
            return node.args[0]
        return None

    def _scaled_weights(self) -> dict[fx.Node, fx.Node]:
        """Linear layers right behind a dropout whose noise may go into their weights -> that dropout's node."""
        found = {}
        for node in self.behind:
            if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
                continue
            layer, source = self.modules[node], node.args[0]
            if not isinstance(source, fx.Node) or len(source.users) != 1 or source not in self.noises:
                continue
            noise = self.noises[source]
            # what others hang on the two modules would not be run
            alone = not _is_hooked(layer) and not _is_hooked(self.modules[source]) and "forward" not in vars(layer)
            if (
                type(layer) is nn.Linear
                and alone
                and is_affine(noise)
                and strength(noise) > 0
                and self._dropped(source) is not None
            ):
                found[node] = source
        return found if self.sampler.shared else {}

    def _broadcasts(self, node: fx.Node) -> bool:
        """Whether a value may stay that of one sample, as the dropouts behind it make several of it."""
        users = [user for user in node.users if user in set(self.behind) or user is self.output]
        return all(user is not self.output and self._dropped(user) is node and len(user.args) == 1 for user in users)

    def _bytes(self, nodes: Iterable[fx.Node], values: Values) -> float:
        """The most bytes a row that a node writes; what goes into a layer's weights is not written."""
        return max((_size(values[n]) for n in nodes if n not in self.dropped), default=1) / _MANY

    # --- checking ---

    def _check(self, few: Inputs, wanted: Tensor) -> None:
        inputs = few.clone()
        versions = [v._version for v in inputs.tensors]
        values = self.run_before(inputs)
        self.changes_inputs = versions != [v._version for v in inputs.tensors]
        tensors = [v for v in values.values() if isinstance(v, Tensor)]
        versions = [v._version for v in tensors]
        found = self.run_behind(values, range(1), few.rows, watched=False)
        self.changes_frontier = versions != [v._version for v in tensors]
        if not alike(found, wanted):
            raise UntraceableError("as a graph it gives other numbers")
        if self.linear and not self.changes_frontier:
            self.scales_always = True
            try:
                in_weights = self.run_behind(values, range(1), few.rows, watched=False)
            finally:
                self.scales_always = False
        if self.linear and (self.changes_frontier or not alike(in_weights, wanted)):
            self.linear, self.dropped = {}, set()  # for instance what goes in is changed before the layer is reached

    def _folds(self, few: Inputs, wanted: list[Tensor]) -> bool:
        try:
            values = self.run_before(few.clone())
            with self.sampler.drawing():
                found = self.run_behind(values, range(2), few.rows, watched=False)
            return alike(found, torch.cat(wanted))
        except Exception:  # a model that takes one batch at a time only
            return False

    # --- running ---

    def run_before(self, inputs: Inputs) -> Values:
        """The values that no dropout reaches and that what lies behind needs."""
        if self.changes_inputs:
            inputs = inputs.clone()
        values: Values = dict(zip(self.placeholders, inputs.tensors, strict=True))
        for node in self.before:
            values[node] = self._value(node, values)
            for done in self.last_use.get(node, ()):
                del values[done]
        return {node: values[node] for node in self.frontier}

    def run_behind(self, values: Values, samples: range, rows: int, first_row: int = 0, watched: bool = True) -> Tensor:
        """The predictions of these samples, (samples * rows, ...), one sample after the other."""
        self.sampler.begin(samples, rows, first_row)
        values = dict(values)
        otherwise = False
        if self.changes_frontier:
            values = {n: v.clone() if isinstance(v, Tensor) else v for n, v in values.items()}
        if len(samples) > 1:
            for node in self.frontier if self.changes_frontier else self.expanded:
                values[node] = mapped(values[node], self.layouts[node], _several(len(samples), rows))
        scaled: set[fx.Node] = set()
        for node in self.behind:
            source = self.linear.get(node)
            if source in scaled:
                values[node] = self._linear(node, values)
            elif node in self.dropped and self._goes_into_weights(node, values, rows):
                scaled.add(node)
                # it draws here, before others of its module that stand before the linear layer
                values[node] = self.sampler.site(str(node.target), values[self._dropped(node)].shape)
            elif watched and (node in self.draws_inside or node in self.opaque):
                noted = self._noted()
                with self.sampler.drawing():
                    values[node] = self._value(node, values)
                otherwise |= node in self.opaque and self._noted() > noted
            else:
                values[node] = self._value(node, values)
            for done in self.last_use_behind.get(node, ()):
                if node not in scaled:
                    values.pop(done, None)
        if otherwise and not self.rows_together:
            self.rows_together, self.foldable = True, False
            raise TurnedOutOtherwiseError
        return self.finish(fx.node.map_arg(self.output.args[0], lambda n: values[n]))

    def bytes_of(self, rows: int) -> float:
        """The most bytes a row that a node behind a dropout writes when so many rows of each sample go in."""
        written = [size for n, size in self.bytes_dropped.items() if not self._few_enough(n, rows)]
        return max([self.bytes_behind, *written])

    def _few_enough(self, dropped: fx.Node, rows: int) -> bool:
        """Whether a layer has so few outputs that scaling its weights is less work than scaling what goes in."""
        layers: list[Any] = [self.modules[user] for user in dropped.users]
        goes_in = self.scales_always or all(layer.out_features <= rows for layer in layers)
        return goes_in and dropped in self.dropped

    def bytes_of_weights(self, rows: int) -> int:
        """The most bytes that one sample of so many rows needs for weights with its noise in them."""
        layers: list[Any] = [self.modules[node] for node in self.linear]
        return max((4 * layer.weight.numel() for layer in layers if layer.out_features <= rows), default=0)

    def _noted(self) -> int:
        return self.sampler.read + self.sampler.shaped + self.sampler.unforeseen

    def rows_of(self, values: Values, index: Tensor) -> Values:
        """The same values for these rows alone."""
        return {node: mapped(value, self.layouts[node], _chosen(index)) for node, value in values.items()}

    def _goes_into_weights(self, node: fx.Node, values: Values, rows: int) -> bool:
        """Whether scaling the weights of the layer behind is less work than scaling what goes in."""
        x = values[self._dropped(node)]
        (user,) = node.users
        layer: Any = self.modules[user]
        fits = isinstance(x, Tensor) and x.ndim == 2 and x.dtype == layer.weight.dtype
        return fits and self._few_enough(node, rows) and self.sampler.layout_at(str(node.target)) == Layout(0)

    def _linear(self, node: fx.Node, values: Values) -> Tensor:
        """A linear layer with its dropout in its weights."""
        source = self.linear[node]
        x: Tensor = values[self._dropped(source)]
        layer: Any = self.modules[node]
        sampler = self.sampler
        scale, shift = sampler.affine(values[source], self.noises[source], x, Layout(0))
        return scaled_linear(x, layer.weight, layer.bias, scale, shift, sampler.rows)

    def _value(self, node: fx.Node, values: Values, keeps_inputs: bool = True) -> Any:
        if node.op == "output":
            return None
        self.sampler.keeps_inputs = keeps_inputs and self._is_known(node)
        args: Any
        kwargs: Any
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
        match node.op:
            case "call_module":
                return self.modules[node](*args, **kwargs)
            case "get_attr":
                name = str(node.target)
                return self.constants[name] if name in self.constants else operator.attrgetter(name)(self.model)
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if is_functional_dropout(node.target):
            return functional_dropout(self.sampler, node.target, *args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    @property
    def reused(self) -> float:
        """The share of a forward pass's multiplications that is done once, not for every sample."""
        return self.work_before / max(1.0, self.work_before + self.work_behind)


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _part(model: nn.Module, name: str) -> nn.Module:
    part: nn.Module = operator.attrgetter(name)(model) if name else model
    return part


def check_rows(predicted: Tensor, rows: int) -> None:
    """Raise a SettingError unless there is a row for each example."""
    if predicted.ndim == 0 or len(predicted) != rows:
        raise SettingError(
            f"predictions have shape {tuple(predicted.shape)} for {rows} rows: they must have a row for each"
        )


def _chosen(index: Tensor) -> Callable[[Any, Any], Any]:
    def change(value: Any, layout: Any) -> Any:
        return layout.select(value, index) if isinstance(layout, Layout) else layout.at(len(index))

    return change


def _is_one_piece(model: nn.Module) -> bool:
    """Whether a model is a layer of torch's or a dropout, where nothing is lost by sampling it whole."""
    return is_dropout(model) or type(model).__module__.startswith("torch.nn.")


def _several(samples: int, rows: int) -> Callable[[Any, Any], Any]:
    def change(value: Any, layout: Any) -> Any:
        return layout.repeated(value, samples) if isinstance(layout, Layout) else layout.at(samples * rows)

    return change


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(map(_size, value)) if isinstance(value, (tuple, list)) else 0


def _last_uses(nodes: list[fx.Node], kept: set[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """Node -> the values that nothing needs any more once it has run."""
    last: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        for source in node.all_input_nodes:
            last[source] = node
    done: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        if source not in kept:
            done.setdefault(node, []).append(source)
    return done


def _work(nodes: Iterable[fx.Node], values: Values, model: nn.Module) -> float:
    """Multiplications of the layers among these nodes, or what stands for them: values written."""
    total = 0.0
    for node in nodes:
        value = values[node]
        written = sum(
            v.numel() for v in (value if isinstance(value, (tuple, list)) else [value]) if isinstance(v, Tensor)
        )
        total += written
        if node.op == "call_module":
            for weight in _part(model, str(node.target)).parameters():
                if weight.ndim > 1:
                    total += written * weight[0].numel()
    return total
