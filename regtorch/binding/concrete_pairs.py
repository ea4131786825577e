"""Pairs each kernel with the concrete dropouts that precede it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from regtorch.binding.parametrized import computed, effective
from regtorch.binding.selection import is_kernel
from regtorch.dropout.base import Noise
from regtorch.dropout.concrete_dropout import ConcreteDropout
from regtorch.errors import NothingBoundError

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a dropout in a model.

    Args:
        name: name of the module.
        dropout: the module.
        maps: number of feature maps that it drops as units, if the preceding convolution shows it; else None.
    """

    name: str
    dropout: ConcreteDropout
    maps: int | None = None


#: torch modules that return one map for each input map
_KEEPING_MAPS = (
    *(nn.Identity, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm),
    *(nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.FeatureAlphaDropout, Noise),
    *(nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd),
    *(nn.modules.pooling._AdaptiveAvgPoolNd, nn.Upsample),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid),
)
#: functions and methods that do so too; with several inputs only if all have the same maps, as in a shortcut
_FUNCTIONS_KEEPING_MAPS = (
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "celu", "selu"),
    *("gelu", "silu", "mish", "tanh", "sigmoid", "hardtanh"),
    *("hardswish", "hardsigmoid", "softplus", "softsign", "boolean_dispatch", "max_pool1d", "max_pool2d", "max_pool3d"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    *("interpolate", "dropout", "dropout1d", "dropout2d", "dropout3d", "add", "iadd", "sub", "mul", "imul"),
    *("contiguous", "clone", "float", "to"),
)

#: the id of a module and one of its attributes
Kernel = tuple[int, str]


def dropouts_before(model: nn.Module) -> dict[Kernel, list[Use]]:
    """Map each kernel to the concrete dropouts that precede it.

    A dropout precedes a layer if the layer receives its output, with only kernel-free layers in between. If that cannot
    be traced (the model cannot be traced, or the dropped tensor is first added to another one), the dropout precedes the
    next layer in the order in which the model registers its modules.

    Raises:
        NothingBoundError: no kernel follows a dropout, so the number of units that it drops is unknown.
    """
    if not any(isinstance(module, ConcreteDropout) for module in model.modules()):
        return {}
    found = _by_graph(model)
    placed = {id(use.dropout) for uses in found.values() for use in uses}
    waiting: list[Use] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, ConcreteDropout) and id(module) not in placed:
            waiting.append(Use(name, module))
        if waiting and (kernels := _first_kernels(module)):
            found.setdefault((id(module), kernels[0]), []).extend(waiting)
            waiting = []
    if waiting:
        raise NothingBoundError(
            f"no layer with a kernel follows the ConcreteDropout {waiting[0].name or 'itself'} in {type(model).__name__}"
        )
    return found


def _first_kernels(module: nn.Module) -> list[str]:
    """The kernels of a layer that read its input, not the output of its other kernels."""
    held = {name: w for name, w in module._parameters.items() if w is not None}
    held |= {name: effective(module, name) for name in computed(module)}  # type: ignore[misc]
    kernels = [name for name, w in held.items() if is_kernel(module, name, w)]
    return [name for name in kernels if not name.startswith("weight_ih_l") or name.startswith("weight_ih_l0")]


def _by_graph(model: nn.Module) -> dict[Kernel, list[Use]]:
    """The pairs that tracing finds; empty if the model cannot be traced."""
    from torch.fx import Tracer

    class _Tracer(Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            ours = isinstance(m, ConcreteDropout) or bool(_first_kernels(m))
            return ours or super().is_leaf_module(m, module_qualified_name)

        def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            return super().call_module(m, m.forward, args, kwargs)  # without its hooks, which may not support tracing

    try:
        nodes = list(_Tracer().trace(model).nodes)
    except Exception:  # model code may do anything with a proxy that is not a tensor
        return {}
    modules = dict(model.named_modules(remove_duplicate=False))
    found: dict[Kernel, list[Use]] = {}
    for start in nodes:
        dropout = modules[str(start.target)] if start.op == "call_module" else None
        if not isinstance(dropout, ConcreteDropout):
            continue
        use, reached = Use(str(start.target), dropout, _maps(start, dropout, modules)), {start}
        for node in nodes:
            inputs: list[Node] = [source for source in node.all_input_nodes if source.op != "get_attr"]
            if not inputs or not reached.issuperset(inputs):
                continue
            layer = modules[str(node.target)] if node.op == "call_module" else None
            kernels = [] if layer is None else _first_kernels(layer)
            for kernel in kernels:
                uses = found.setdefault((id(layer), kernel), [])
                if use not in uses:
                    uses.append(use)
            if not kernels:
                reached.add(node)
    return found


def _maps(start: Node, dropout: ConcreteDropout, modules: Mapping[str, nn.Module]) -> int | None:
    """Number of maps that a dropout drops as units, from the preceding convolutions; None if unknown."""
    found: dict[Node, tuple[int, int] | None] = {}

    def of(node: Node) -> tuple[int, int] | None:
        if node not in found:
            found[node] = look(node)
        return found[node]

    def look(node: Node) -> tuple[int, int] | None:
        """Number of channels of a node's output, and number of spatial dimensions of its maps."""
        sources = [of(source) for source in node.all_input_nodes if source.op != "get_attr"]
        if node.op == "call_module":
            layer = modules[str(node.target)]
            if isinstance(layer, _ConvNd):
                return layer.out_channels, len(layer.kernel_size)
            return sources[0] if sources and isinstance(layer, _KEEPING_MAPS) else None
        called = str(getattr(node.target, "__name__", node.target))
        if called in _FUNCTIONS_KEEPING_MAPS and sources:
            return sources[0] if all(source == sources[0] for source in sources) else None
        if called in ("cat", "concat") and sources and (node.args[1:] == (1,) or node.kwargs.get("dim") == 1):
            given = node.args[0] if node.args else node.kwargs.get("tensors")
            known = [source for source in sources if source is not None]
            each_once = isinstance(given, (list, tuple)) and len(known) == len(sources) == len(given)
            same = each_once and len({sizes for _, sizes in known}) == 1
            return (sum(channels for channels, _ in known), known[0][1]) if same else None
        return None

    maps = of(start.all_input_nodes[0]) if start.all_input_nodes else None
    if maps is None:
        return None
    drops_maps = maps[1] > 1 if dropout.whole_maps is None else dropout.whole_maps
    return maps[0] if drops_maps else None
