"""Which parameters of a model a rule is bound to: ``where=``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.errors import NothingBoundError
from regtorch.parametrized import computed, effective
from regtorch.rule import Where
from regtorch.where import matches, split_where

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Place:
    """One parameter's place in a model: it is looked up anew each time, so that it may be moved, cast or sharded."""

    module: nn.Module
    attribute: str
    name: str

    @property
    def is_computed(self) -> bool:
        """Whether what is there is no parameter but computed from some, as by ``torch.nn.utils.parametrize``."""
        return self.module._parameters.get(self.attribute) is None

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that is there now; where it is computed, what the layer computes with."""
        w = self.module._parameters.get(self.attribute)
        return effective(self.module, self.attribute) if w is None else w  # type: ignore[return-value]

    @property
    def held(self) -> list[nn.Parameter]:
        """The parameters that an optimizer holds of it."""
        w = self.module._parameters.get(self.attribute)
        return computed(self.module).get(self.attribute, []) if w is None else [w]

    @property
    def groups(self) -> int | None:
        """For a kernel whose second dimension are its units, as a transposed convolution's, its number of groups, else None."""
        if self.attribute != "weight":
            return None
        if type(self.module).__name__ == "Conv1D" and hasattr(self.module, "nf"):
            return 1  # transformers' (GPT-2): a linear layer whose kernel is (in, out)
        return self.module.groups if isinstance(self.module, _TRANSPOSED) else None


def reshard(model: nn.Module) -> None:
    """Let a fully sharded model keep whole parameters no longer, as it may after a forward pass, but its shards only."""
    for module in _fully_sharded(model):
        module.reshard()


def trained_parameters(model: nn.Module) -> dict[tuple[int, str], nn.Parameter]:
    """The parameters that the optimizer holds of a fully sharded model, by the module's id and the attribute.

    After a forward pass ``fully_shard`` may have put whole copies in their place, cast to the type of its mixed precision
    and gone after the backward pass. Empty if there is nothing of the kind.
    """
    found: dict[tuple[int, str], nn.Parameter] = {}
    for module in _fully_sharded(model):
        state = module._get_fsdp_state()
        single = getattr(state, "_fsdp_param_group", None) if not hasattr(state, "_fsdp_param_groups") else None
        for group in getattr(state, "_fsdp_param_groups", [single]):
            for managed in group.fsdp_params if group is not None else ():
                info = managed._module_info
                owners = zip(
                    [info.module, *info.shared_modules], [info.param_name, *info.shared_param_names], strict=True
                )
                found |= {(id(owner), attribute): managed.sharded_param for owner, attribute in owners}
    return found


def _fully_sharded(model: nn.Module) -> list[Any]:
    """The modules to which ``fully_shard`` was applied; none can be without processes."""
    processes = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not processes or torch.compiler.is_compiling():
        return []
    return [module for module in model.modules() if hasattr(module, "_get_fsdp_state")]


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


def _is_normalisation(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _is_embedding(module: nn.Module) -> bool:
    return "embedding" in type(module).__name__.lower()


def is_kernel(module: nn.Module, attribute: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is what Keras calls a kernel: the weight of a linear or convolution layer.

    That is the ``weight`` of a Linear or convolution layer and of what derives from them. Elsewhere it has two
    dimensions or more and is called ``weight``, or ``*_proj_weight`` (attention) or ``weight_ih_l*``
    (the input kernel of a recurrent layer; ``weight_hh_l*`` is what Keras calls the recurrent kernel), and its
    module is no normalisation layer and no embedding.
    """
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
        return attribute == "weight"
    named = attribute == "weight" or attribute.endswith("proj_weight") or attribute.startswith("weight_ih")
    if not named or _is_normalisation(module) or _is_embedding(module):
        return False
    return is_lazy(parameter) or parameter.ndim >= 2


def is_bias(module: nn.Module, attribute: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a layer's bias; a normalisation layer's shift is none."""
    return (attribute.startswith("bias") or attribute.endswith("_bias")) and not _is_normalisation(module)


def places(model: nn.Module) -> Iterator[Place]:
    """Every parameter's place, once each, in the order of ``named_parameters``."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield Place(module, attribute, f"{prefix}.{attribute}" if prefix else attribute)


def select(model: nn.Module, where: Where) -> list[Place]:
    """The places of the parameters that `where` means.

    Args:
        model: any module.
        where: ``"kernel"``, ``"bias"``, ``"all"``, a glob over parameter names (``"head.*"``), both
            (``"kernel:hidden.*"``), or a callable ``(module, name, parameter) -> bool``, where name is the
            parameter's full name in the model. A shared parameter counts once; a glob may match any of its names.
            A weight that is computed from parameters (``torch.nn.utils.parametrize``, weight and spectral norm,
            pruning) is meant under its own name, ``"0.weight"``, as the layer computes with it; what it is computed from
            is meant only by a `where` that does not mean the weight itself (``"0.parametrizations.*"``).

    Raises:
        NothingBoundError: nothing matches; the model's parameter names are listed.
        SettingError: a `where` of another form.

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
    """All places that `where` means, as `select` gives them, each place of a shared parameter or module among them.

    Raises:
        NothingBoundError: nothing matches; the model's parameter names are listed.
        SettingError: a `where` of another form.
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
    """The layers whose output `where` means, by name; one that is shared by its first name.

    Args:
        model: any module.
        where: ``"kernel"`` and ``"all"``: every layer that has a kernel; ``"bias"``: that has a bias; a glob over module
            names: the outermost modules that match; ``"kernel:<glob>"``: the layers with a kernel among them; a
            callable as for `select`, asked about each layer's kernel. A block that names its activation (an attribute
            ``activation``) gives out what its activation does, as a layer with an activation does in Keras.

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

    def means(name: str, module: nn.Module) -> bool:
        owned = [(m, n, w) for m in _parts(module) for n, w in _parameters_of(m) if belongs(m, n, w)]
        if callable(where):
            owned = [(m, n, w) for m, n, w in owned if where(m, f"{name}.{n}" if name else n, w)]
        return fnmatchcase(name, pattern) and (any_module or bool(owned))

    is_a_layer = type(model).__module__.startswith("torch.nn.")
    if is_a_layer and not any_module and means("", model):
        return [(type(model).__name__, _output_of(model))]
    within: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        if any(name.startswith(f"{outer}.") for outer in found):
            within.add(id(module))
        elif name and id(module) not in within and means(name, module):
            found[name] = module
    if not found and means("", model):
        return [(type(model).__name__, _output_of(model))]
    if not found:
        names = [name for name, _ in model.named_modules() if name]
        raise NothingBoundError(
            f"where={where} matches no layer of {type(model).__name__}; "
            + (f"it has: {', '.join(names)}" if names else "it is one layer, which torch.nn.Sequential gives a name")
        )
    outputs: dict[int, tuple[str, nn.Module]] = {}
    for name, module in found.items():
        output = _output_of(module)
        outputs.setdefault(id(output), (name, output))
    return list(outputs.values())


def _parameters_of(module: nn.Module) -> list[tuple[str, Any]]:
    """A module's own parameters, and the tensors that are computed from some."""
    with torch.no_grad():
        by_computation = [(name, effective(module, name)) for name in computed(module)]
    return [*module.named_parameters(recurse=False), *by_computation]


def _parts(module: nn.Module) -> list[nn.Module]:
    """The module itself and, in a block with an activation, its direct parts."""
    return [module, *module.children()] if _has_activation(module) else [module]


def _has_activation(module: nn.Module) -> bool:
    return isinstance(getattr(module, "activation", None), nn.Module)


def _output_of(module: nn.Module) -> nn.Module:
    output: nn.Module = module.activation if _has_activation(module) else module  # type: ignore[assignment]
    return output
