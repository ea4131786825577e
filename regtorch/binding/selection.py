"""Selection of the parameters to which a rule is bound: ``where=``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.binding.parametrized import computed, effective
from regtorch.compat.torch_internals import fully_sharded_parameters, is_fully_sharded
from regtorch.errors import NothingBoundError
from regtorch.rule import Where
from regtorch.where import matches, split_where

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Place:
    """The place of a parameter in a model; the parameter is looked up each time, as it may be moved, cast or sharded."""

    module: nn.Module
    attribute: str
    name: str

    @property
    def is_computed(self) -> bool:
        """Whether the tensor is computed from parameters, as by ``torch.nn.utils.parametrize``, and is not one itself."""
        return self.module._parameters.get(self.attribute) is None

    @property
    def parameter(self) -> nn.Parameter:
        """The current parameter; for a computed tensor, its current value."""
        w = self.module._parameters.get(self.attribute)
        return effective(self.module, self.attribute) if w is None else w  # type: ignore[return-value]

    @property
    def held(self) -> list[nn.Parameter]:
        """The parameters of this place that an optimizer holds."""
        w = self.module._parameters.get(self.attribute)
        return computed(self.module).get(self.attribute, []) if w is None else [w]

    @property
    def groups(self) -> int | None:
        """Number of groups of a kernel whose second dimension is the units, as in transposed convolutions; else None."""
        if self.attribute != "weight":
            return None
        if type(self.module).__name__ == "Conv1D" and hasattr(self.module, "nf"):
            return 1  # Conv1D of transformers (GPT-2) is a linear layer with a kernel (in, out)
        return self.module.groups if isinstance(self.module, _TRANSPOSED) else None


def reshard(model: nn.Module) -> None:
    """Free the full parameters that a fully sharded model may keep after a forward pass; its shards remain."""
    for module in _fully_sharded(model):
        module.reshard()


def trained_parameters(model: nn.Module) -> dict[tuple[int, str], nn.Parameter]:
    """The parameters of a fully sharded model that the optimizer holds, by the module's id and the attribute.

    After a forward pass ``fully_shard`` may have replaced them by full copies, cast to the type of its mixed precision;
    the backward pass removes these. Empty if the model is not fully sharded.
    """
    found: dict[tuple[int, str], nn.Parameter] = {}
    for module in _fully_sharded(model):
        for owner, attribute, shard in fully_sharded_parameters(module):
            found[id(owner), attribute] = shard
    return found


def _fully_sharded(model: nn.Module) -> list[Any]:
    """The modules to which ``fully_shard`` was applied; without a process group there are none."""
    processes = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not processes or torch.compiler.is_compiling():
        return []
    return [module for module in model.modules() if is_fully_sharded(module)]


def units_first(w: Tensor, groups: int) -> Tensor:
    """A transposed convolution's kernel (in, out/groups, *k) with its output channels first: (out, in/groups, *k).

    It is its own inverse.

    Example:
        >>> import torch
        >>> units_first(torch.zeros(4, 3, 5, 5), groups=2).shape
        torch.Size([6, 2, 5, 5])
    """
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return split.transpose(1, 2).reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:])


def _is_normalization(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _is_embedding(module: nn.Module) -> bool:
    return "embedding" in type(module).__name__.lower()


def is_kernel(module: nn.Module, attribute: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is what Keras calls a kernel: the weight of a linear or convolution layer.

    That is the ``weight`` of a Linear or convolution layer or of a subclass of one. In other modules a kernel has at
    least two dimensions and is named ``weight``, ``*_proj_weight`` (attention) or ``weight_ih_l*`` (the input kernel of a
    recurrent layer; ``weight_hh_l*`` is what Keras calls the recurrent kernel), and the module is neither a
    normalization layer nor an embedding.
    """
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
        return attribute == "weight"
    named = attribute == "weight" or attribute.endswith("proj_weight") or attribute.startswith("weight_ih")
    if not named or _is_normalization(module) or _is_embedding(module):
        return False
    return is_lazy(parameter) or parameter.ndim >= 2


def is_bias(module: nn.Module, attribute: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a layer's bias; the shift of a normalization layer is not a bias."""
    return (attribute.startswith("bias") or attribute.endswith("_bias")) and not _is_normalization(module)


def places(model: nn.Module) -> Iterator[Place]:
    """The place of each parameter, once, in the order of ``named_parameters``."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield Place(module, attribute, f"{prefix}.{attribute}" if prefix else attribute)


def select(model: nn.Module, where: Where) -> list[Place]:
    """The places of the parameters that `where` selects.

    Args:
        model: any module.
        where: ``"kernel"``, ``"bias"``, ``"all"``, a glob over parameter names (``"head.*"``), both
            (``"kernel:hidden.*"``), or a callable ``(module, name, parameter) -> bool``, where name is the
            parameter's full name in the model. A shared parameter counts once; a glob may match any of its names.
            A weight that is computed from parameters (``torch.nn.utils.parametrize``, weight and spectral norm,
            pruning) is selected under its own name, ``"0.weight"``, with the value that the layer uses. The parameters
            from which it is computed are selected only if `where` does not match the weight itself
            (``"0.parametrizations.*"``).

    Raises:
        NothingBoundError: nothing matches; the model's parameter names are listed.
        SettingError: `where` has another form.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        >>> [place.name for place in select(model, "kernel")]
        ['0.weight', '2.weight']
    """
    found: dict[int, Place] = {}
    for place in matching(model, where):
        found.setdefault(id(place.held[0]), place)
    return list(found.values())


def matching(model: nn.Module, where: Where) -> list[Place]:
    """All places that `where` selects, with every place of a shared parameter or module.

    Raises:
        NothingBoundError: nothing matches; the model's parameter names are listed.
        SettingError: `where` has another form.
    """
    found: dict[str, Place] = {}
    within: set[int] = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        for attribute, originals in computed(module).items():
            name = f"{prefix}.{attribute}" if prefix else attribute
            with torch.no_grad():
                w: Any = effective(module, attribute)
            if _matches(where, module, attribute, name, w):
                found[name] = Place(module, attribute, name)
                within |= {id(original) for original in originals}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for attribute, parameter in module._parameters.items():
            name = f"{prefix}.{attribute}" if prefix else attribute
            if (
                parameter is not None
                and name not in found
                and id(parameter) not in within
                and _matches(where, module, attribute, name, parameter)
            ):
                found[name] = Place(module, attribute, name)
    if not found:
        names = [place.name for place in places(model)]
        raise NothingBoundError(
            f"where={where} matches no parameter of {type(model).__name__}; "
            + (f"it has: {', '.join(names)}" if names else "it has none")
        )
    return list(found.values())


def _matches(where: Where, module: nn.Module, attribute: str, name: str, parameter: nn.Parameter) -> bool:
    if callable(where):
        return bool(where(module, name, parameter))
    return matches(where, name, is_kernel(module, attribute, parameter), is_bias(module, attribute, parameter))


def select_layers(model: nn.Module, where: Where) -> list[tuple[str, nn.Module]]:
    """The names and the layers whose output `where` selects; a shared layer has its first name.

    Args:
        model: any module.
        where: ``"kernel"`` and ``"all"``: every layer with a kernel; ``"bias"``: every layer with a bias; a glob over module
            names: the outermost modules that match; ``"kernel:<glob>"``: those of them with a kernel; a callable as for
            `select`, called with each layer's kernel. The output of a block with an attribute ``activation`` is that of
            the activation, as for a layer with an activation in Keras.

    Raises:
        NothingBoundError: nothing matches; the model's module names are listed.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> [name for name, _ in select_layers(model, "kernel")]
        ['0', '2']
    """
    kind, pattern = ("kernel", "*") if callable(where) else split_where(where)
    belongs = is_bias if kind == "bias" else is_kernel
    any_module = kind == "all" and where != "all"
    found: dict[str, nn.Module] = {}

    def selects(name: str, module: nn.Module) -> bool:
        if not fnmatchcase(name, pattern):  # first, as it costs least
            return False
        owned = [(m, n, w) for m in _parts(module) for n, w in _parameters_of(m) if belongs(m, n, w)]
        if callable(where):
            owned = [(m, n, w) for m, n, w in owned if where(m, f"{name}.{n}" if name else n, w)]
        return any_module or bool(owned)

    is_a_layer = type(model).__module__.startswith("torch.nn.")
    if is_a_layer and not any_module and selects("", model):
        return [(type(model).__name__, _output_of(model))]
    within: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        if any(name.startswith(f"{outer}.") for outer in found):
            within.add(id(module))
        elif name and id(module) not in within and selects(name, module):
            found[name] = module
    if not found and selects("", model):
        return [(type(model).__name__, _output_of(model))]
    if not found:
        names = [name for name, _ in model.named_modules() if name]
        raise NothingBoundError(
            f"where={where} matches no layer of {type(model).__name__}; "
            + (
                f"it has: {', '.join(names)}"
                if names
                else "it is a single layer; wrap it in torch.nn.Sequential to give it a name"
            )
        )
    outputs: dict[int, tuple[str, nn.Module]] = {}
    for name, module in found.items():
        output = _output_of(module)
        outputs.setdefault(id(output), (name, output))
    return list(outputs.values())


def _parameters_of(module: nn.Module) -> list[tuple[str, Any]]:
    """A module's own parameters and its computed tensors."""
    with torch.no_grad():
        by_computation = [(name, effective(module, name)) for name in computed(module)]
    return [*module.named_parameters(recurse=False), *by_computation]


def _parts(module: nn.Module) -> list[nn.Module]:
    """The module itself and, for a block with an activation, its children."""
    return [module, *module.children()] if _has_activation(module) else [module]


def _has_activation(module: nn.Module) -> bool:
    return isinstance(getattr(module, "activation", None), nn.Module)


def _output_of(module: nn.Module) -> nn.Module:
    output: nn.Module = module.activation if _has_activation(module) else module  # type: ignore[assignment]
    return output
