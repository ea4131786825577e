"""The parameter names of a model, computed from its configuration, so that `where` is checked before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def parameter_names(model: Mapping[str, Any], **parts: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    """Each parameter's name, whether it is a kernel and whether it is a bias.

    Args:
        model: the complete node of an ``mlp`` or ``cnn``.
        **parts: the nodes of ``activation`` and ``dropout``.

    Example:
        >>> mlp = {"name": "mlp", "hidden": [8], "batch_norm": "none", "input_batch_norm": False, "bias": None}
        >>> [name for name, kernel, bias in parameter_names(mlp, activation={"name": "relu"}, dropout={"name": "none"})]
        ['hidden.0.linear.weight', 'hidden.0.linear.bias', 'head.weight', 'head.bias']
    """
    convolutions: Sequence[int] = model.get("channels", ())
    dense: Sequence[int] = model["head"] if convolutions else model["hidden"]
    wraps = parts["dropout"]["name"] == "drop_connect"
    at = model.get("dropout_at", "dense")
    if model["input_batch_norm"]:
        yield from _norm("input.batch_norm")
    for index in range(len(convolutions) + len(dense)):
        conv = index < len(convolutions)
        normed = model["batch_norm"] if conv or model.get("dense_batch_norm", not convolutions) else "none"
        wrapped = wraps and at in ("both", "conv" if conv else "dense", "both" if conv else "auto")
        layer = f"hidden.{index}.{'conv' if conv else 'linear'}" + (".layer" if wrapped else "")
        yield f"{layer}.weight", True, False
        if normed != "before" if model["bias"] is None else model["bias"]:
            yield f"{layer}.bias", False, True
        if normed == "before":
            yield from _norm(f"hidden.{index}.batch_norm")
        if parts["activation"]["name"] == "prelu":
            yield f"hidden.{index}.activation.weight", False, False
        if normed in ("after", "after_dropout"):
            yield from _norm(f"hidden.{index}.batch_norm")
    yield "head.weight", True, False
    yield "head.bias", False, True


def layer_names(parameters: Iterable[tuple[str, bool, bool]]) -> list[tuple[str, bool, bool]]:
    """The layers that an activity's `where` may select: name, whether it has a kernel, whether it has a bias.

    Example:
        >>> layer_names([("hidden.0.linear.weight", True, False), ("head.weight", True, False)])
        [('hidden.0', True, False), ('hidden.0.activation', False, False), ('hidden.0.linear', True, False), ('head', True, False)]
    """
    layers: dict[str, tuple[bool, bool]] = {}

    def note(layer: str, kernel: bool, bias: bool) -> None:
        before = layers.get(layer, (False, False))
        layers[layer] = (before[0] or kernel, before[1] or bias)

    for name, kernel, bias in parameters:
        parts = name.split(".")
        if parts[0] == "hidden":
            note(f"hidden.{parts[1]}", kernel, bias)
            note(f"hidden.{parts[1]}.activation", False, False)
        note(name.rpartition(".")[0], kernel, bias)
    return [(name, *owns) for name, owns in layers.items()]


def _norm(name: str) -> Iterator[tuple[str, bool, bool]]:
    yield f"{name}.weight", False, False
    yield f"{name}.bias", False, False
