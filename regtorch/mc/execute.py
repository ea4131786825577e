"""Running a partition: its upstream part once, its downstream part for each sample."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn

from regtorch.mc.attention import attention, is_attention
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.interception import functional_dropout
from regtorch.mc.layout import Layout, mapped
from regtorch.mc.memory import Memory, WriteWatch
from regtorch.mc.partition import Partition, Values, is_known_function
from regtorch.mc.sampler import Sampler
from regtorch.mc.scaled_linear import scaled_linear


class ReplanNeeded(Exception):  # noqa: N818 - nothing is wrong, rows only took another path than the ones tried
    """What is run turned out to depend on the numbers of the batch, in a way that the trial did not show."""


class Executor:
    """Runs a partition of a model.

    Args:
        model: the model, in eval mode with its dropouts on and computed by the sampler.
        sampler: draws the noise.
        partition: how it is run.
        finish: turns the model's output into predictions (rows, ...).
        memory: of the model's numbers, from which each sample starts; None: it is seen to by the caller.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler,
        partition: Partition,
        finish: Callable[[Any], Tensor],
        memory: Memory | None = None,
    ) -> None:
        self.model, self.sampler, self.partition, self.finish = model, sampler, partition, finish
        self.memory = memory
        if memory is not None:
            memory.compare(partition.modules[node] for node in partition.opaque)
        #: put noise into the weights of linear layers even where that is more work, to check it
        self.folds_always = False

    def run_upstream(self, batch: BatchArgs) -> Values:
        """The values of the frontier."""
        part = self.partition
        if part.changes_inputs:
            batch = batch.clone()
        values: Values = dict(zip(part.placeholders, batch.tensors, strict=True))
        for node in part.upstream:
            with WriteWatch() if node in part.opaque else nullcontext():
                values[node] = self._value(node, values)
            for done in part.last_uses.get(node, ()):
                values.pop(done, None)
        return {node: values[node] for node in part.frontier}

    def run_downstream(  # noqa: C901 - one branch per kind of node
        self, values: Values, samples: range, rows: int, first_row: int = 0, watched: bool = True
    ) -> Tensor:
        """The predictions of these samples, (samples * rows, ...), one sample after the other.

        Args:
            values: of the frontier.
            samples: which ones.
            rows: of one sample.
            first_row: the number of the first row among all.
            watched: whether draws in other code are taken over here, and not by the caller.

        Raises:
            ReplanNeeded: numbers were read in code that read none when it was tried.
        """
        part, sampler = self.partition, self.sampler
        watched = watched and sampler.native is None
        sampler.begin(samples, rows, first_row)
        values = dict(values)
        state = torch.default_generator.get_state()
        unforeseen = False
        if part.changes_frontier:
            values = {n: v.clone() if isinstance(v, Tensor) else v for n, v in values.items()}
        if len(samples) > 1:
            for node in part.frontier if part.changes_frontier else part.expanded:
                values[node] = mapped(values[node], part.layouts[node], _several(len(samples), rows))
        in_weights: set[fx.Node] = set()
        for node in part.downstream:
            source = part.folded.get(node)
            if source in in_weights:
                values[node] = self._linear(node, values)
            elif node in part.bytes_folded and self._goes_into_weights(node, values, rows):
                in_weights.add(node)
                # it draws here, before others of its module that come before the linear layer
                values[node] = sampler.site(str(node.target), values[_input(part, node)].shape)
            elif watched and is_attention(node.target):
                values[node] = self._attention(node, values)
            elif watched and part.is_watched(node):
                noted = self._noted()
                with sampler.drawing():
                    values[node] = self._value(node, values)
                unforeseen |= node in part.opaque and self._noted() > noted
            else:
                values[node] = self._value(node, values)
            for done in part.last_uses.get(node, ()):
                if node not in in_weights:
                    values.pop(done, None)
        if unforeseen and not part.rows_together:
            raise ReplanNeeded
        if watched and not torch.equal(state, torch.default_generator.get_state()):
            if part.watches_all:
                torch.default_generator.set_state(state)  # the draws of a thread, or of code that seeds the generator
            else:
                raise ReplanNeeded  # something draws where nothing did before
        output = fx.node.map_arg(part.output.args[0], lambda n: values[n])
        predicted = self.finish(part.model_graph.rebuild(output))
        if self.memory is not None:
            predicted = self.memory.rewound(predicted)
        return predicted

    def bytes_of(self, rows: int) -> float:
        """The most bytes a row that a downstream node writes when so many rows of each sample go in."""
        part = self.partition
        written = [size for n, size in part.bytes_folded.items() if not self._few_enough(n, rows)]
        return max([part.bytes_downstream, *written])

    def bytes_of_weights(self, rows: int) -> int:
        """The most bytes that one sample of so many rows needs for weights with its noise in them."""
        layers: list[Any] = [self.partition.modules[node] for node in self.partition.folded]
        return max((4 * layer.weight.numel() for layer in layers if layer.out_features <= rows), default=0)

    def rows_of(self, values: Values, index: Tensor) -> Values:
        """The same values for these rows alone."""
        layouts = self.partition.layouts
        return {node: mapped(value, layouts[node], _chosen(index)) for node, value in values.items()}

    def _noted(self) -> int:
        return self.sampler.read + self.sampler.shaped + self.sampler.unforeseen

    def _few_enough(self, dropped: fx.Node, rows: int) -> bool:
        """Whether a layer has so few outputs that scaling its weights is less work than scaling what goes in."""
        layers: list[Any] = [self.partition.modules[user] for user in dropped.users]
        goes_in = self.folds_always or all(layer.out_features <= rows for layer in layers)
        return goes_in and dropped in self.partition.bytes_folded

    def _goes_into_weights(self, node: fx.Node, values: Values, rows: int) -> bool:
        """Whether scaling the weights of the next layer is less work than scaling what goes in."""
        x = values[_input(self.partition, node)]
        (user,) = node.users
        layer: Any = self.partition.modules[user]
        fits = isinstance(x, Tensor) and x.ndim == 2 and x.dtype == layer.weight.dtype
        return fits and self._few_enough(node, rows) and self.sampler.layout_at(str(node.target)) == Layout(0)

    def _linear(self, node: fx.Node, values: Values) -> Tensor:
        """A linear layer with its dropout in its weights."""
        part, sampler = self.partition, self.sampler
        source = part.folded[node]
        x: Tensor = values[_input(part, source)]
        layer: Any = part.modules[node]
        scale, shift = sampler.affine(values[source], part.noises[source], x, Layout(0))
        return scaled_linear(x, layer.weight, layer.bias, scale, shift, sampler.rows)

    def _attention(self, node: fx.Node, values: Values) -> Any:
        args: Any
        kwargs: Any
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
        out = attention(self.sampler, *args, **kwargs)
        if out is None:
            with self.sampler.drawing():
                out = self._value(node, values)
        return out

    def _value(self, node: fx.Node, values: Values) -> Any:
        part = self.partition
        self.sampler.keeps_inputs = part.is_known_dropout(node)
        return evaluated(node, values, self.model, self.sampler, part.modules, part.model_graph.constants)


def evaluated(
    node: fx.Node,
    values: Values,
    model: nn.Module,
    sampler: Sampler,
    modules: dict[fx.Node, nn.Module],
    constants: dict[str, Tensor],
) -> Any:
    """The value of one node."""
    args: Any
    kwargs: Any
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
    match node.op:
        case "call_module":
            return modules[node](*args, **kwargs)
        case "get_attr":
            name = str(node.target)
            return constants[name] if name in constants else operator.attrgetter(name)(model)
        case "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if is_known_function(node) and sampler.native is None:
        return functional_dropout(sampler, node.target, *args, **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _input(part: Partition, node: fx.Node) -> fx.Node:
    source = part.dropped(node)
    assert source is not None
    return source


def _chosen(index: Tensor) -> Callable[[Any, Any], Any]:
    def change(value: Any, layout: Any) -> Any:
        return layout.select(value, index) if isinstance(layout, Layout) else layout.at(len(index))

    return change


def _several(samples: int, rows: int) -> Callable[[Any, Any], Any]:
    def change(value: Any, layout: Any) -> Any:
        return layout.repeated(value, samples) if isinstance(layout, Layout) else layout.at(samples * rows)

    return change
