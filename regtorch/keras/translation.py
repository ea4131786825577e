"""Translate calls of Keras layers to steps of a torch network. Each family of layers has a module with its translators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.graph import Call, Layer
from regtorch.keras.layout import Arrangement, Layout, Shape, same_arrangement
from regtorch.keras.plan import Plan, Value, Weight
from regtorch.keras.settings import Settings

#: layers that pass on a mask
_KEEP_MASKS = {
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "Dense",
    "Dropout",
    "ELU",
    "GaussianDropout",
    "GaussianNoise",
    "GroupNormalization",
    "Identity",
    "LayerNormalization",
    "LeakyReLU",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "SpatialDropout1D",
}

#: layers that use masks, or combine several
_READ_MASKS = {
    "Add",
    "Average",
    "BatchNormalization",
    "Concatenate",
    "Maximum",
    "Minimum",
    "Multiply",
    "Softmax",
    "Subtract",
}

DATA_FORMATS = ("channels_last", "channels_first")


@dataclass(eq=False)
class Translation:
    """One call of a layer. Its translator reads the settings from it and adds steps to the plan."""

    plan: Plan
    call: Call
    number: int
    inputs: list[Value]
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        """The layer that is called."""
        return self.call.layer

    @property
    def settings(self) -> Settings:
        """The layer's settings."""
        return self.layer.settings

    def wrong(self, message: str) -> KerasFileError:
        """Return the error to raise about this layer."""
        return KerasFileError(f"layer {self.layer}: {message}")

    def one(self, rank: int | None = None) -> Value:
        """Return the only input. For a shared layer it is in Keras' order, so that all calls can share the weights.

        Args:
            rank: the required number of axes, without the batch.
        """
        if len(self.inputs) != 1:
            raise self.wrong(f"takes one tensor, not {len(self.inputs)}")
        [x] = self.inputs
        if rank is not None and x.layout.rank != rank:
            raise self.wrong(f"takes {rank} dimensions besides the batch, got the shape {x.layout.shape}")
        return self.plan.in_keras_order(x, self.layer.name) if self.layer.calls > 1 else x

    def size(self, x: Value, axis: int) -> int:
        """Return the size of an axis; it must be known."""
        size = x.layout.shape[axis] if -x.layout.rank <= axis < x.layout.rank else None
        if size is None:
            raise self.wrong(f"needs to know the size of axis {axis} of the shape {x.layout.shape}")
        return size

    def channels_last(self) -> bool:
        """Return whether the layer takes channels last."""
        return self.settings.choice("data_format", DATA_FORMATS, "channels_last") == "channels_last"

    def maps(self, rank: int) -> tuple[Value, Shape]:
        """Return the input with channels first, as torch requires it, and the sizes of its feature maps.

        Args:
            rank: the number of dimensions of a feature map.
        """
        x = self.one(1 + rank)
        last = rank if self.channels_last() else 0
        order = (last, *(axis for axis in range(rank + 1) if axis != last))
        x = self.plan.reordered(x, order, self.layer.name)
        return x, x.layout.sizes[1:]

    def expect(self, **shapes: tuple[int, ...]) -> None:
        """Declare the arrays of the layer, in Keras' order. They are checked in the file, but not read."""
        owned = self.plan.file.count(self.layer.path)
        if owned != len(shapes):
            raise self.wrong(f"has {len(shapes)} arrays ({', '.join(shapes)}), but the file has {owned} for it")
        for index, (name, shape) in enumerate(shapes.items()):
            self.plan.file.check(self.layer.path, index, shape, floating=name != "count")
        self._shapes = shapes

    def _name_of(self, suffix: str, shared: bool) -> str:
        """A module's name: that of the layer with a suffix, made unique if another module or layer has it."""
        name = self.layer.name + suffix
        if not suffix and self.plan.module(name) is None:
            return name
        if not shared:
            return self.plan.unique(name)
        if (self.layer, suffix) not in self.plan.names:  # later calls share the module
            self.plan.names[self.layer, suffix] = self.plan.unique(name)
        return self.plan.names[self.layer, suffix]

    def step(
        self,
        module: nn.Module,
        inputs: Value | Sequence[Value | int],
        layout: Layout,
        *,
        suffix: str = "",
        buffers: Sequence[str] = (),
        **weights: tuple[str, Arrangement] | str,
    ) -> Value:
        """Add a call of a module of the layer. Further calls of a shared layer use the weights of the first one.

        Args:
            module: a module on the meta device, without memory for its weights.
            inputs: its inputs.
            layout: layout of its output.
            suffix: suffix of its name, after the layer's name.
            buffers: names of the weights that are buffers.
            **weights: Keras' name of an array -> the module's attribute, with its arrangement if that is another one.
        """
        name = self.layer.name + suffix
        inputs = [inputs] if isinstance(inputs, Value) else inputs
        earlier = self.plan.module(name) if weights else None
        # a module without weights may depend on the inputs of this call, so each call has its own
        if suffix or not weights:
            name = self._name_of(suffix, shared=bool(weights))
            earlier = self.plan.module(name) if weights else None
        result = self.plan.step(name, earlier or module, inputs, layout)
        self.plan.ends[self.number] = name
        if earlier is not None:
            return result
        for key, target in weights.items():
            if key not in self._shapes:
                continue
            attribute, arrangement = (
                (target, same_arrangement(self._shapes[key])) if isinstance(target, str) else target
            )
            index = list(self._shapes).index(key)
            self.plan.weights.append(
                Weight(self.layer, key, index, name, attribute, arrangement, trains=key not in buffers)
            )
        return result


Translator = Callable[[Translation], Value]


def translate(t: Translation) -> Value:
    """Translate a call of a layer. A mask is passed on as in Keras."""
    name = t.layer.class_name
    masked = any(value.mask is not None for value in t.inputs)
    if masked and name in _READ_MASKS:
        raise t.wrong("its treatment of masked positions (mask_zero) is not supported")
    result = TRANSLATORS[name](t)
    return replace(result, mask=None) if masked and name not in _KEEP_MASKS else result


#: class name of a Keras layer -> translator of its calls
TRANSLATORS: dict[str, Translator] = {}


def translates(*class_names: str) -> Callable[[Translator], Translator]:
    """Register a function as the translator of these Keras layers."""

    def decorate(translator: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(class_names, translator))
        return translator

    return decorate
