"""From calls of Keras layers to steps of a torch network; each family of layers has its translators beside this file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.graph import Call, Layer
from regtorch.keras.layout import Arrangement, Layout, Shape, as_it_is
from regtorch.keras.plan import Plan, Value, Weight
from regtorch.keras.settings import Settings

#: layers behind which a mask still holds
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

#: layers that read masks, or join several
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
    """One call of one layer, for its translator to read and to add steps for."""

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
        """The error to raise about this layer."""
        return KerasFileError(f"layer {self.layer}: {message}")

    def one(self, rank: int | None = None) -> Value:
        """The only input; of a layer that is called several times as Keras has it, so that the calls can share weights.

        Args:
            rank: how many axes it must have, the batch not counted.
        """
        if len(self.inputs) != 1:
            raise self.wrong(f"takes one tensor, not {len(self.inputs)}")
        [x] = self.inputs
        if rank is not None and x.layout.rank != rank:
            raise self.wrong(f"takes {rank} dimensions beside the batch, got the shape {x.layout.shape}")
        return self.plan.in_keras_order(x, self.layer.name) if self.layer.calls > 1 else x

    def size(self, x: Value, axis: int) -> int:
        """The size of an axis that must be known."""
        size = x.layout.shape[axis] if -x.layout.rank <= axis < x.layout.rank else None
        if size is None:
            raise self.wrong(f"needs to know the size of axis {axis} of the shape {x.layout.shape}")
        return size

    def channels_last(self) -> bool:
        """Whether the layer takes channels last."""
        return self.settings.choice("data_format", DATA_FORMATS, "channels_last") == "channels_last"

    def maps(self, rank: int) -> tuple[Value, Shape]:
        """The input with its channels first, as torch's layers of maps want it, and the maps' sizes.

        Args:
            rank: the number of dimensions of a map.
        """
        x = self.one(1 + rank)
        last = rank if self.channels_last() else 0
        order = (last, *(axis for axis in range(rank + 1) if axis != last))
        x = self.plan.reordered(x, order, self.layer.name)
        return x, x.layout.sizes[1:]

    def expect(self, **shapes: tuple[int, ...]) -> None:
        """Say which arrays the layer owns, in Keras' order; they are looked up in the file, not read."""
        owned = self.plan.file.count(self.layer.path)
        if owned != len(shapes):
            raise self.wrong(f"has {len(shapes)} arrays ({', '.join(shapes)}), the file has {owned} of it")
        for index, (name, shape) in enumerate(shapes.items()):
            self.plan.file.check(self.layer.path, index, shape, floating=name != "count")
        self._shapes = shapes

    def _name_of(self, suffix: str, shared: bool) -> str:
        """A module's name: the layer's, with a suffix, unless another module or layer is called so."""
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
        """Add a module of the layer's; of a shared layer the second call takes the first one's weights.

        Args:
            module: built without memory for its weights (under the meta device).
            inputs: what it takes.
            layout: of what it gives.
            suffix: what its name has beyond the layer's.
            buffers: which of the weights do not train.
            **weights: Keras' name of an array -> the module's attribute, and how it lies there unless as in Keras.
        """
        name = self.layer.name + suffix
        inputs = [inputs] if isinstance(inputs, Value) else inputs
        earlier = self.plan.module(name) if weights else None
        # a module without weights may depend on what this call gets, so each call has its own
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
            attribute, arrangement = (target, as_it_is(self._shapes[key])) if isinstance(target, str) else target
            index = list(self._shapes).index(key)
            self.plan.weights.append(
                Weight(self.layer, key, index, name, attribute, arrangement, trains=key not in buffers)
            )
        return result


Translator = Callable[[Translation], Value]


def translate(t: Translation) -> Value:
    """What a layer's translator makes of a call; a mask is handed on as Keras does it."""
    name = t.layer.class_name
    masked = any(value.mask is not None for value in t.inputs)
    if masked and name in _READ_MASKS:
        raise t.wrong("what it makes of masked positions (mask_zero) cannot be read")
    result = TRANSLATORS[name](t)
    return replace(result, mask=None) if masked and name not in _KEEP_MASKS else result


#: a Keras layer's class -> what translates a call of it
TRANSLATORS: dict[str, Translator] = {}


def translates(*class_names: str) -> Callable[[Translator], Translator]:
    """Make a function known as the translator of these Keras layers."""

    def decorate(translator: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(class_names, translator))
        return translator

    return decorate
