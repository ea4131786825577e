"""One error for all unsupported layers of a model: one line that names each class once, with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regtorch.errors import KerasFileError
from regtorch.keras.activation import unsupported_activation
from regtorch.keras.custom import custom_key, is_translated, stand_in_of
from regtorch.keras.graph import Graph, Layer
from regtorch.keras.messages import counted, joined, shown
from regtorch.keras.rules import unsupported_rule
from regtorch.printable import printable

Custom = dict[str, Callable[..., Any]]

#: up to this number, all layers of a class are named
_ALL_NAMED = 3

#: layers that change their input only in training, besides those whose names start with Random
_AUGMENTATIONS = ("AugMix", "CutMix", "MixUp", "RandAugment")
#: one that changes it in prediction, too
_CROPS = "RandomCrop"


def refuse_unsupported(graph: Graph, custom: Custom, version: str) -> None:
    """Raise one error for all unsupported layers.

    Args:
        graph: graph of the model.
        custom: the stand-ins.
        version: version of the Keras that wrote the file; empty if it is unknown.

    Raises:
        KerasFileError: some layers are not supported.
    """
    found: dict[tuple[str, str], list[Layer]] = {}
    for layer in graph.layers:
        reason = _unsupported(layer, custom) or _changed_since_keras_2(layer, custom, version)
        if reason:
            found.setdefault((layer.class_name, reason), []).append(layer)
    if found:
        items = [_item(layers, reason) for (_, reason), layers in found.items()]
        raise KerasFileError(f"not supported here: {joined(items)}")


def _item(layers: list[Layer], reason: str) -> str:
    stand_in = f"custom={{{shown(custom_key(layers[0]), 60)}: ...}}"
    if len(layers) == 1:
        called = f", called with {shown(layers[0].constants[0])}" if layers[0].constants else ""
        return f"{layers[0]}: {reason.format(stand_in=stand_in, called=called)}"
    by_name = custom_key(layers[0]) == layers[0].keras_name != layers[0].class_name
    reason = reason.format(stand_in=f"{stand_in}, and one for each of the others" if by_name else stand_in, called="")
    if len(layers) <= _ALL_NAMED:
        return f"{', '.join(map(str, layers))}: {reason}"
    return f"{printable(layers[0].class_name, 60)} ({counted([layer.keras_name for layer in layers])}): {reason}"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _unsupported(layer: Layer, custom: Custom) -> str | None:
    """The reason why a layer is not supported. ``{stand_in}`` stands for a stand-in, ``{called}`` for its constants."""
    if layer.class_name == "InputLayer" or stand_in_of(layer, custom) is not None:
        return None
    if layer.class_name == "Lambda":
        return "code in a file is never run; give {stand_in}"
    if layer.operation and not is_translated(layer):
        return "an operation on tensors{called}; give {stand_in}, a torch module that computes it"
    if not layer.built_in:
        return "a custom layer; give {stand_in}, a torch module that stands in"
    if layer.class_name == _CROPS:
        return "random cropping, which in prediction crops the center; give {stand_in}, a torch module that does so"
    if layer.class_name.startswith("Random") or layer.class_name in _AUGMENTATIONS:
        identity = _escaped(f"custom={{{shown(layer.class_name, 60)}: torch.nn.Identity}}")
        return f"random augmentation; give {identity}, which is right for prediction"
    if not is_translated(layer):
        return "this layer is not available here; give {stand_in}, a torch module that stands in"
    if layer.constants:
        return _escaped(
            f"it is called with {shown(layer.constants[0])}, which is not supported; give custom="
            f"{{{shown(layer.keras_name, 60)}: ...}}, a torch module that stands in"
        )
    return _unsupported_settings(layer, custom)


def _unsupported_settings(layer: Layer, custom: Custom) -> str | None:
    """The reason why settings of a translated layer are not supported."""
    policy = layer.settings.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") not in ("DTypePolicy", "Policy"):
        return _escaped(f"its dtype policy {shown(policy.get('class_name'), 60)} is a quantized one")
    if layer.settings.get("lora_rank") or layer.settings.get("quantization_config"):
        return "its weights are quantized or have LoRA parts; merge them in Keras first"
    reasons = [unsupported_activation(layer.settings.get("activation"), custom)]
    for key, value in layer.settings.values.items():
        if str(key).endswith(("_regularizer", "_constraint")):
            reasons.append(unsupported_rule(str(key), value, custom))
    return _escaped("; ".join(reason for reason in reasons if reason)) or None


def _changed_since_keras_2(layer: Layer, custom: Custom, version: str) -> str | None:
    """The reason why a layer of Keras 2 cannot be translated like that of Keras 3."""
    if not version.startswith("2.") or stand_in_of(layer, custom) is not None:
        return None
    activation = layer.settings.get("activation")
    return "Keras 2's hard_sigmoid is another function than Keras 3's" if activation == "hard_sigmoid" else None
