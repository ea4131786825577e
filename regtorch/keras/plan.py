"""The plan of the torch network: modules, the tensors between them, and their weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.call_arguments import Arguments
from regtorch.keras.graph import Graph, Layer
from regtorch.keras.layout import Arrangement, Layout, keras_layout
from regtorch.keras.ordering import Permute, Reorder
from regtorch.keras.weights import Place, WeightFile

#: limit for the numbers that a layer returns for one example
_MOST_VALUES = 2**31


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the network: its number, its layout, and the number of the tokens that mask it, if any."""

    number: int
    layout: Layout
    mask: int | None = None


@dataclass(eq=False)
class Step:
    """One call of a module of the network, with the numbers of its input tensors and its output tensor.

    `arguments` are given if the call needs more than these tensors in their order.
    """

    name: str
    module: nn.Module
    inputs: tuple[int, ...]
    output: int
    arguments: Arguments | None = None


@dataclass(frozen=True, eq=False)
class Weight:
    """One array of the file and the parameter or buffer that it became.

    Args:
        layer: the layer that it belongs to.
        name: its name in Keras: kernel, bias, gamma, ...
        index: its index among the layer's arrays.
        step: name of the module that owns it.
        attribute: its name in that module.
        arrangement: how the array maps to the parameter.
        trains: whether it is a parameter; it trains if its layer does.
        below: path of the sublayer that owns the array, relative to the layer; empty if the layer owns it.
    """

    layer: Layer
    name: str
    index: int | str
    step: str
    attribute: str
    arrangement: Arrangement
    trains: bool = True
    below: str = ""

    @property
    def place(self) -> Place:
        """The place of its array in the file."""
        return (f"{self.layer.path}/{self.below}" if self.below else self.layer.path), self.index

    @property
    def full_name(self) -> str:
        """Its name in the network."""
        return f"{self.step}.{self.attribute}"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A stand-in that loaded its arrays with its own method ``load_keras``.

    Args:
        layer: the layer that it replaces.
        arrays: name -> place in the file and shape, for each array that it received.
        digest: digest of its parameters and buffers after loading.
    """

    layer: Layer
    arrays: dict[str, tuple[Place, tuple[int, ...]]]
    digest: str


@dataclass(eq=False)
class Plan:
    """The plan of a network. No memory is allocated for weights."""

    graph: Graph
    file: WeightFile
    custom: dict[str, Callable[..., nn.Module]]
    steps: list[Step] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    #: the number of a call -> the name of the module whose output is the output of the layer
    ends: dict[int, str] = field(default_factory=dict)
    #: the number of an output's call -> the final softmax or sigmoid that was removed, or an empty string
    split: dict[int, str] = field(default_factory=dict)
    #: calls of input layers -> the number of the input tensor
    entries: dict[int, int] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    #: layers with stand-ins, and the stand-ins that loaded their arrays with load_keras
    stand_ins: list[Layer] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    #: names of the layers of the file
    reserved: frozenset[str] = frozenset()
    #: calls whose result is also used inside the model -> the output of the model, before the activation
    logits: dict[int, Value] = field(default_factory=dict)
    #: names of modules with weights that are not the name of their layer
    names: dict[tuple[Layer, str], str] = field(default_factory=dict)
    _tensors: int = 0
    _modules: dict[str, nn.Module] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)

    def new_tensor(self) -> int:
        """Return the number of a new tensor."""
        self._tensors += 1
        return self._tensors - 1

    def step(
        self,
        name: str,
        module: nn.Module,
        inputs: Sequence[Value | int],
        layout: Layout,
        arguments: Arguments | None = None,
    ) -> Value:
        """Add a call of a module, and return its output."""
        values = [value for value in inputs if isinstance(value, Value)]
        numbers = tuple(value.number if isinstance(value, Value) else value for value in inputs)
        known = [size for size in layout.shape if size is not None]
        if any(size < 1 for size in known) or prod(known) > _MOST_VALUES:
            raise KerasFileError(f"{name} would return the shape {layout.shape} for each example")
        mask = values[0].mask if len(values) == 1 else None
        result = Value(self.new_tensor(), layout, mask)
        if self._modules.get(name, module) is not module:
            raise KerasFileError(f"two modules would be called {name}")
        self.steps.append(Step(name, module, numbers, result.number, arguments))
        self._modules[name] = module
        return result

    def unique(self, name: str) -> str:
        """Return a name that no module and no other layer of the file has."""
        found = name
        while found in self._modules or found in self.reserved:
            self._numbers[name] += 1
            found = f"{name}_{self._numbers[name] + 1}"
        return found

    def module(self, name: str) -> nn.Module | None:
        """Return the module of this name; None if there is none."""
        return self._modules.get(name)

    def reordered(self, value: Value, order: tuple[int, ...], name: str) -> Value:
        """Return the tensor with its axes in another order."""
        value = self.in_keras_order(value, name) if value.layout.features is not None else value
        if value.layout.order == order:
            return value
        dims = [value.layout.order.index(axis) for axis in order]
        return self.step(self.unique(f"{name}_permute"), Permute(dims), [value], replace(value.layout, order=order))

    def in_keras_order(self, value: Value, name: str) -> Value:
        """Return the tensor with the order of axes and features of Keras."""
        if value.layout.features is not None:
            places = np.argsort(value.layout.features)
            return self.step(self.unique(f"{name}_reorder"), Reorder(places), [value], keras_layout(value.layout.shape))
        return self.reordered(value, tuple(range(value.layout.rank)), name)
