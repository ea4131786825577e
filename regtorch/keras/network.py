"""The torch network for a plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import SettingError
from regtorch.keras.graph import Graph
from regtorch.keras.layout import Layout
from regtorch.keras.plan import Step
from regtorch.printable import printable


@torch.fx.wrap
def checked_input(x: Tensor, sizes: tuple[int | None, ...], like: Tensor, sequence: bool) -> Tensor:
    """Check and cast an input of the model. Images become channels-last in memory, as convolutions are faster then.

    Args:
        x: (batch, *sizes).
        sizes: sizes of one example; None for a variable size.
        like: a tensor of the target type.
        sequence: whether (batch, channels, length) is accepted for (batch, length, channels) if the shape is unambiguous.

    Raises:
        SettingError: x has another shape.
    """
    if sequence and tuple(x.shape[1:]) != sizes and tuple(x.shape[1:]) == sizes[::-1]:
        x = x.transpose(1, 2)  # the order of torch's Conv1d
    if x.ndim != 1 + len(sizes) or any(size not in (None, n) for n, size in zip(x.shape[1:], sizes, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in sizes)
        raise SettingError(f"x has the shape {tuple(x.shape)}: the model takes (batch, {wanted})")
    x = x.to(like.dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


class Entry(nn.Module):
    """An input of the network: checks the shape of a tensor and casts it.

    Args:
        layout: layout of one example.
        integers: whether the input consists of integers.
        sequence: whether the input is a sequence (length, channels) for layers of maps.
    """

    like: Tensor

    def __init__(self, layout: Layout, integers: bool, sequence: bool) -> None:
        super().__init__()
        self.sizes = layout.sizes
        self.sequence = sequence
        # a buffer, so that its type follows that of the model after model.to(torch.bfloat16)
        dtype = torch.int64 if integers else torch.float32
        self.register_buffer("like", torch.empty(0, dtype=dtype, device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the checked input (batch, *sizes)."""
        return checked_input(x, self.sizes, self.like, self.sequence)

    def extra_repr(self) -> str:
        """The accepted shape and type."""
        return f"(batch, {', '.join('any' if size is None else str(size) for size in self.sizes)}), {self.like.dtype}"


@torch.fx.wrap
def input_tensors(x: Any, more: Any, names: Sequence[str]) -> list[Tensor]:
    """The tensors of a call, in the order of the inputs.

    Args:
        x: a tensor, a list of them, or a mapping by the inputs' names.
        more: further tensors.
        names: names of the inputs.

    Raises:
        SettingError: the number of tensors is not that of the inputs, or a mapping has other keys.
    """
    if isinstance(x, Mapping):
        if set(x) != set(names):
            keys, wanted = (printable(", ".join(map(str, given)), 200) for given in (x, names))
            raise SettingError(f"x has the keys {keys}: the model's inputs are {wanted}")
        x = [x[name] for name in names]
    found = [*(x if isinstance(x, (list, tuple)) else [x]), *_flat(more)]
    if len(found) != len(names):
        raise SettingError(f"x has {len(found)} tensors: the model has {len(names)} inputs")
    return found


def _flat(more: Any) -> list[Any]:
    """The arguments after the first one; in a traced network they are nested one level deeper."""
    return [tensor for entry in more for tensor in (_flat(entry) if isinstance(entry, tuple) else [entry])]


class Network(nn.Module):
    """Modules that can take their inputs from all modules that ran before them.

    Args:
        steps: the steps in an executable order; several steps may share a module.
        inputs: the numbers of the input tensors.
        outputs: the numbers of the output tensors.
        single: whether it returns one tensor rather than a list.
        names: names of its inputs, in their order.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int], single: bool, names: Sequence[str]
    ) -> None:
        super().__init__()
        for step in steps:
            self.add_module(step.name, step.module)
        self._calls = [(step.name, step.inputs, step.output, step.arguments) for step in steps]
        self._inputs, self._outputs, self._single = tuple(inputs), tuple(outputs), single
        self.input_names = tuple(names)

    def forward(self, x: Tensor | Sequence[Tensor] | Mapping[str, Tensor], *more: Tensor) -> Any:
        """Take one tensor for each input, a list of them, or a mapping by the inputs' names."""
        given = input_tensors(x, more, self.input_names)
        values = {number: given[place] for place, number in enumerate(self._inputs)}
        for name, inputs, output, arguments in self._calls:
            module: Any = self._modules[name]
            tensors = [values[number] for number in inputs]
            values[output] = module(*tensors) if arguments is None else arguments.call(module, tensors)
        results = [values[number] for number in self._outputs]
        return results[0] if self._single else results


def build_network(steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int], graph: Graph) -> nn.Module:
    """Build a torch module from steps: an ``nn.Sequential`` if each takes the output of the one before it.

    Args:
        steps: the steps in an executable order.
        inputs: the numbers of the input tensors.
        outputs: the numbers of the output tensors.
        graph: the graph, for the names of the inputs and whether there is one output.
    """
    if _is_chain(steps, inputs, outputs) and graph.single:
        return nn.Sequential(OrderedDict((step.name, step.module) for step in steps))
    return Network(steps, inputs, outputs, graph.single, graph.input_names)


def _is_chain(steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int]) -> bool:
    if len({step.name for step in steps}) < len(steps) or len(inputs) != 1 or len(outputs) != 1:
        return False
    if any(step.arguments is not None for step in steps):
        return False
    taken = [(inputs[0],), *((step.output,) for step in steps)]
    return all(step.inputs == before for step, before in zip(steps, taken, strict=False)) and taken[-1] == (outputs[0],)
