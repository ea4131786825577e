"""The network that is to be built, while it is put together: modules, the tensors between them, and their weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.calling import Arguments
from regtorch.keras.graph import Graph, Layer
from regtorch.keras.layout import Arrangement, Layout, keras_layout
from regtorch.keras.ordering import Permute, Reorder
from regtorch.keras.weights import Place, WeightFile

#: no layer gives this many numbers for one example
_MOST_VALUES = 2**31


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the network: its number, how it lies, and the number of the integers that mask it, if any."""

    number: int
    layout: Layout
    mask: int | None = None


@dataclass(eq=False)
class Step:
    """One module of the network, the numbers of the tensors it takes, and of the one it gives.

    `arguments` are given where it is called with more than these tensors in their order.
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
        layer: whose it is.
        name: what Keras calls it: kernel, bias, gamma, ...
        index: its number among the layer's arrays.
        step: the name of the module that holds it.
        attribute: what that module calls it.
        arrangement: how it lies.
        trains: whether it is a parameter that trains, as far as its layer does.
        below: the path of the sublayer that owns the array, below the layer's; empty where the layer does.
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
        """Where its array is in the file."""
        return (f"{self.layer.path}/{self.below}" if self.below else self.layer.path), self.index

    @property
    def full_name(self) -> str:
        """Its name in the network."""
        return f"{self.step}.{self.attribute}"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A stand-in that took its arrays by its own method ``load_keras``.

    Args:
        layer: whose place it takes.
        arrays: what it was handed, by their names: where each is in the file, and its shape.
        digest: of its parameters and buffers afterwards.
    """

    layer: Layer
    arrays: dict[str, tuple[Place, tuple[int, ...]]]
    digest: str


@dataclass(eq=False)
class Plan:
    """What is to be built, while it is put together; no memory is taken for weights."""

    graph: Graph
    file: WeightFile
    custom: dict[str, Callable[..., nn.Module]]
    steps: list[Step] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    #: the number of a call -> the name of the module whose output is the layer's own
    ends: dict[int, str] = field(default_factory=dict)
    #: layers whose final softmax or sigmoid was split off: the call's number -> its name
    split: dict[int, str] = field(default_factory=dict)
    #: calls of input layers -> the number of the tensor that comes in there
    entries: dict[int, int] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    #: layers that modules of the user's stand in for, and what those took by themselves
    stand_ins: list[Layer] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    #: what the layers of the file are called
    reserved: frozenset[str] = frozenset()
    #: calls whose result is used inside the model too: what the model gives there, before the activation
    logits: dict[int, Value] = field(default_factory=dict)
    #: modules with weights beside the one that is called as its layer is
    names: dict[tuple[Layer, str], str] = field(default_factory=dict)
    _tensors: int = 0
    _modules: dict[str, nn.Module] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)

    def new_tensor(self) -> int:
        """The number of a further tensor."""
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
        """Add a module."""
        values = [value for value in inputs if isinstance(value, Value)]
        numbers = tuple(value.number if isinstance(value, Value) else value for value in inputs)
        known = [size for size in layout.shape if size is not None]
        if any(size < 1 for size in known) or prod(known) > _MOST_VALUES:
            raise KerasFileError(f"{name} would give the shape {layout.shape} for each example")
        mask = values[0].mask if len(values) == 1 else None
        result = Value(self.new_tensor(), layout, mask)
        if self._modules.get(name, module) is not module:
            raise KerasFileError(f"two modules would be called {name}")
        self.steps.append(Step(name, module, numbers, result.number, arguments))
        self._modules[name] = module
        return result

    def unique(self, name: str) -> str:
        """A name that no module has yet, nor another layer of the file."""
        found = name
        while found in self._modules or found in self.reserved:
            self._numbers[name] += 1
            found = f"{name}_{self._numbers[name] + 1}"
        return found

    def module(self, name: str) -> nn.Module | None:
        """The module of this name, if it has been added."""
        return self._modules.get(name)

    def reordered(self, value: Value, order: tuple[int, ...], name: str) -> Value:
        """The same tensor with its axes in another order."""
        value = self.in_keras_order(value, name) if value.layout.features is not None else value
        if value.layout.order == order:
            return value
        dims = [value.layout.order.index(axis) for axis in order]
        return self.step(self.unique(f"{name}_permute"), Permute(dims), [value], replace(value.layout, order=order))

    def in_keras_order(self, value: Value, name: str) -> Value:
        """The same tensor as Keras has it."""
        if value.layout.features is not None:
            places = np.argsort(value.layout.features)
            return self.step(self.unique(f"{name}_reorder"), Reorder(places), [value], keras_layout(value.layout.shape))
        return self.reordered(value, tuple(range(value.layout.rank)), name)
