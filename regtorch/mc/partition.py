"""A model's graph divided at its noise: what runs once for all samples, and what runs for each."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from regtorch.dropout.base import Noise
from regtorch.mc.affine import is_affine
from regtorch.mc.dropouts import noise_of, strength
from regtorch.mc.graph import ModelGraph, Rebuild, Recorded, UntraceableError
from regtorch.mc.in_place import Change
from regtorch.mc.interception import is_functional_dropout
from regtorch.mc.layout import value_layout
from regtorch.mc.sampler import Sampler

Values = dict[fx.Node, Any]


@dataclass(frozen=True)
class Partition:
    """How a graph is run for many samples.

    Args:
        model_graph: the graph.
        upstream: nodes that no noise reaches, in order.
        downstream: nodes that noise reaches, in order.
        output: the node that gives the model's output.
        placeholders: one for each tensor of the batch.
        modules: of the nodes that call one.
        noises: nodes of dropouts that the sampler computes -> the dropout.
        opaque: nodes whose code is not torch's: what they run may depend on the numbers.
        draws_inside: nodes in whose own code something is drawn, or that run in training mode.
        draws_here: those of them that are no modules, or in which code may draw that is not in a forward to be replaced.
        frontier: upstream nodes that something downstream needs.
        layouts: frontier node -> where the rows of the batch are in its value.
        expanded: frontier nodes whose value is repeated for several samples that go through as one batch.
        folded: linear layers right after a dropout -> that dropout's node; the noise goes into the layer's weights.
        last_uses: node -> the values that nothing needs once it has run.
        bytes_upstream: the most bytes a row that an upstream node writes.
        bytes_downstream: the same of the nodes downstream.
        bytes_folded: dropout whose noise goes into weights -> bytes a row that it would write otherwise.
        reused: the share of a forward pass's multiplications that is done once for all samples.
        rows_together: whether what is run depends on numbers of the batch, so that its rows go through together.
        reads_sampled: the same, on numbers that noise has reached.
        samples_output: whether noise reaches the output.
        fixed: whether it holds for the shapes of one batch only.
        is_single: whether the model is one node.
        changes_inputs: whether what is upstream changes the batch in place.
        changes_frontier: whether what is downstream changes in place what is upstream.
        folds_samples: whether several samples can go through as one batch.
        rows_depend: whether a row's prediction depends on the other rows.
        watches_all: whether draws are taken over everywhere, and not only where some were seen.
    """

    model_graph: ModelGraph
    upstream: tuple[fx.Node, ...]
    downstream: tuple[fx.Node, ...]
    output: fx.Node
    placeholders: tuple[fx.Node, ...]
    modules: dict[fx.Node, nn.Module]
    noises: dict[fx.Node, Noise]
    opaque: frozenset[fx.Node]
    draws_inside: frozenset[fx.Node]
    draws_here: frozenset[fx.Node]
    frontier: tuple[fx.Node, ...]
    layouts: dict[fx.Node, Any]
    expanded: tuple[fx.Node, ...]
    folded: dict[fx.Node, fx.Node]
    last_uses: dict[fx.Node, list[fx.Node]]
    bytes_upstream: float
    bytes_downstream: float
    bytes_folded: dict[fx.Node, float]
    reused: float
    rows_together: bool
    reads_sampled: bool
    samples_output: bool
    fixed: bool = False
    is_single: bool = False
    changes_inputs: bool = False
    changes_frontier: bool = False
    folds_samples: bool = False
    rows_depend: bool = False
    watches_all: bool = False

    def is_watched(self, node: fx.Node) -> bool:
        """Whether all draws of a node are taken over; those within modules are taken over there."""
        if node in self.opaque and (self.watches_all or not self.rows_together):
            return True
        return node in (self.draws_inside if self.watches_all else self.draws_here)

    def is_known_dropout(self, node: fx.Node) -> bool:
        """Whether a node is a dropout that the sampler computes by itself."""
        return node in self.noises or is_known_function(node)

    def dropped(self, node: fx.Node) -> fx.Node | None:
        """What a dropout's node drops something of; None if it is no such node."""
        return _dropped(node, self.noises)


def is_known_function(node: fx.Node) -> bool:
    """Whether a node calls one of torch's functional dropouts."""
    return node.op == "call_function" and is_functional_dropout(node.target)


def _dropped(node: fx.Node, noises: dict[fx.Node, Noise]) -> fx.Node | None:
    if (node in noises or is_known_function(node)) and node.args and isinstance(node.args[0], fx.Node):
        return node.args[0]
    return None


def partition(
    model: nn.Module,
    sampler: Sampler,
    model_graph: ModelGraph,
    active: frozenset[nn.Module],
    seen: Recorded,
    left: list[Change],
    values: tuple[Values, Values] | None,
    rows: tuple[int, int],
) -> Partition:
    """Divide a graph.

    Args:
        model: the model.
        sampler: draws the noise.
        model_graph: the graph.
        active: the modules whose noise is sampled.
        seen: what was noted of its nodes.
        left: changes in place that later uses of the value do not see in the graph.
        values: of all nodes for two numbers of rows; None if the graph holds for one batch.
        rows: the two numbers of rows; of the one batch, twice its number.

    Raises:
        UntraceableError: upstream and downstream parts change the same memory in turn.
    """
    nodes = [node for node in model_graph.graph.nodes if node.op not in ("placeholder", "output")]
    (output,) = (node for node in model_graph.graph.nodes if node.op == "output")
    placeholders = tuple(node for node in model_graph.graph.nodes if node.op == "placeholder")
    modules = {n: part_of(model, str(n.target)) for n in nodes if n.op == "call_module"}
    # whose own code runs in training mode
    trained = {n for n, module in modules.items() if any(part in active for part in module.modules())}
    found = {node: noise_of(module) for node, module in modules.items() if module in active}
    noises = {node: noise for node, noise in found.items() if noise is not None}
    opaque = frozenset(n for n, module in modules.items() if n not in noises and not is_of_torch(module))
    hidden = {n for n in opaque if any(module in active for module in modules[n].modules())}
    sampled = _sampled(nodes, seen.firing | hidden)
    single = len(modules) == len(nodes) == 1 and "" in {str(n.target) for n in modules}
    if not single:
        _refuse_other_order([*nodes, output], seen.changes, left, sampled, noises)
    upstream = tuple(n for n in nodes if n not in sampled)
    downstream = tuple(n for n in nodes if n in sampled)
    needed = {source for node in (*downstream, output) for source in node.all_input_nodes}
    frontier = tuple(n for n in (*placeholders, *upstream) if n in needed)
    layouts = {n: None if values is None else value_layout(values[0][n], values[1][n], rows) for n in frontier}
    folded = _folded(downstream, modules, noises, sampler)
    in_weights = set(folded.values())
    work = [sum(seen.work.get(n, 0.0) for n in part) for part in (upstream, downstream)]
    reached = set(downstream)
    drawing = seen.inside | ((seen.firing | trained) - {n for n in noises if not _is_hooked(modules[n])})
    inside = frozenset(n for n in drawing if not is_known_function(n))
    return Partition(
        model_graph,
        upstream,
        downstream,
        output,
        placeholders,
        modules,
        noises,
        opaque,
        inside,
        frozenset(n for n in inside if n not in modules or _draws_outside_forward(modules[n])),
        frontier,
        layouts,
        tuple(n for n in frontier if not _broadcasts(n, reached, output, noises)),
        folded,
        _last_uses(upstream, set(frontier)) | _last_uses(downstream, set(output.all_input_nodes)),
        max((seen.sizes.get(n, 0) for n in upstream), default=1) / rows[1],
        max((seen.sizes.get(n, 0) for n in downstream if n not in in_weights), default=1) / rows[1],
        {n: seen.sizes[n] / rows[1] for n in in_weights},
        work[0] / max(1.0, sum(work)),
        rows_together=bool(seen.reading) or values is None,
        reads_sampled=bool(seen.reading & sampled),
        samples_output=any(source in sampled for source in output.all_input_nodes),
        fixed=values is None,
        is_single=single,
        changes_frontier=single,
    )


def _sampled(nodes: list[fx.Node], firing: set[fx.Node]) -> set[fx.Node]:
    """The nodes that noise reaches, and what only puts values into structures for them."""
    sampled: set[fx.Node] = set()
    for node in nodes:
        if node in firing or any(source in sampled for source in node.all_input_nodes):
            sampled.add(node)
    for node in reversed(nodes):
        if isinstance(node.target, Rebuild) and any(user in sampled for user in node.users):
            sampled.add(node)
    return sampled


def _refuse_other_order(
    nodes: list[fx.Node], changes: list[Change], left: list[Change], sampled: set[fx.Node], noises: dict[fx.Node, Noise]
) -> None:
    order = {node: index for index, node in enumerate(nodes)}
    for change in changes:
        by, of = change.by, change.of
        earlier = any(user in sampled and order[user] < order[by] for user in of.users)
        if by not in sampled and earlier:
            raise UntraceableError(f"{by} changes in place what noise is added to before")
    for change in left:
        by, of = change.by, change.of
        later = any(order[user] > order[by] for user in of.users)
        if by in sampled and later and (of not in sampled or by in noises or is_known_function(by)):
            raise UntraceableError(f"{by} changes in place what {of} shares its memory with")


def _folded(
    downstream: Iterable[fx.Node], modules: dict[fx.Node, nn.Module], noises: dict[fx.Node, Noise], sampler: Sampler
) -> dict[fx.Node, fx.Node]:
    """Linear layers right after a dropout whose noise may go into their weights -> that dropout's node."""
    found: dict[fx.Node, fx.Node] = {}
    for node in downstream if sampler.shared else ():
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            continue
        layer, source = modules[node], node.args[0]
        if not isinstance(source, fx.Node) or len(source.users) != 1 or source not in noises:
            continue
        noise = noises[source]
        # hooks on the two modules would not be run
        plain = not _is_hooked(layer) and not _is_hooked(modules[source]) and "forward" not in vars(layer)
        scales = is_affine(noise) and strength(noise) > 0 and _dropped(source, noises) is not None
        if type(layer) is nn.Linear and plain and scales:
            found[node] = source
    return found


def _broadcasts(node: fx.Node, reached: set[fx.Node], output: fx.Node, noises: dict[fx.Node, Noise]) -> bool:
    """Whether a value may stay that of one sample, as the dropouts that use it make several of it."""
    users = [user for user in node.users if user in reached or user is output]
    return all(user is not output and _dropped(user, noises) is node and len(user.args) == 1 for user in users)


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _draws_outside_forward(module: nn.Module) -> bool:
    """Whether a module holds scripts, whose forward cannot be replaced, or hooks, which run outside of it."""
    return any(isinstance(part, torch.jit.ScriptModule) or _is_hooked(part) for part in module.modules())


def is_of_torch(module: nn.Module) -> bool:
    """Whether a module and all in it are torch's own layers, of which it is known what they do."""
    return all(type(m).__module__.startswith("torch.nn.") for m in module.modules())


def part_of(model: nn.Module, name: str) -> nn.Module:
    """The module with a qualified name."""
    part: nn.Module = operator.attrgetter(name)(model) if name else model
    return part


def size_of(value: Any) -> int:
    """The bytes of the tensors in a value."""
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(map(size_of, value)) if isinstance(value, (tuple, list)) else 0


def work_of(node: fx.Node, values: Values, modules: dict[fx.Node, nn.Module]) -> float:
    """Multiplications of the layers in a node, or what stands for them: values written."""
    value = values[node]
    written = sum(v.numel() for v in (value if isinstance(value, (tuple, list)) else [value]) if isinstance(v, Tensor))
    weights = modules[node].parameters() if node in modules else ()
    return float(written * (1 + sum(w[0].numel() for w in weights if w.ndim > 1)))


def _last_uses(nodes: Iterable[fx.Node], kept: set[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
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
