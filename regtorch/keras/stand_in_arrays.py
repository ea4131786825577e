"""Load the arrays of a layer into its stand-in, and get them back for saving."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError, SettingError, as_one_line
from regtorch.keras.layout import same_arrangement
from regtorch.keras.messages import counted
from regtorch.keras.plan import Loaded, Weight
from regtorch.keras.translation import Translation
from regtorch.keras.weights import Place
from regtorch.printable import printable

#: torch's modules whose weights have another order of axes than in Keras; a square weight would hide a mistake
_TRANSPOSED: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)


def load_arrays(t: Translation, module: nn.Module) -> None:
    """Load the arrays of a layer into its stand-in.

    A module with a method ``load_keras(arrays)`` gets all of them: a list or, if sublayers have arrays, too, a mapping
    like ``{"0": ..., "cell/0": ...}``. Otherwise its parameters and then its buffers are filled one by one.

    Raises:
        KerasFileError: the module has no place for an array, or the file has no array for a parameter.
    """
    found = t.plan.file.arrays(t.layer.path) if t.layer.path else {}
    t.plan.stand_ins.append(t.layer)
    parameters = dict(module.named_parameters())
    with torch.device("cpu"):
        if hasattr(module, "load_keras") and (found or parameters):
            _load_by_method(t, module, found)
        elif found:
            _load_one_by_one(t, module, found)
        elif parameters:
            raise t.wrong(
                f"its stand-in has the parameters {counted(list(parameters))}, but the file has no array for them: they "
                "would keep their random values; give it a method load_keras(arrays) if that is intended"
            )
    if not t.layer.trainable:
        module.requires_grad_(False)
    _warn_of_rules(t)


def _load_by_method(t: Translation, module: Any, found: dict[str, Place]) -> None:
    arrays = {name: t.plan.file.read(*place) for name, place in found.items()}
    before = _digest(module)
    try:
        module.load_keras(arrays if any("/" in name for name in arrays) else list(arrays.values()))
    except Exception as error:
        names = counted(list(arrays)) if arrays else "no arrays"
        raise t.wrong(f"load_keras of its stand-in failed on {names}: {printable(as_one_line(error), 300)}") from error
    after = _digest(module)
    if arrays and before == after and any(True for _ in module.parameters()):
        warnings.warn(f"{t.layer}: load_keras of its stand-in left all parameters unchanged", stacklevel=7)
    shapes = {name: (found[name], array.shape) for name, array in arrays.items()}
    t.plan.loaded.append(Loaded(t.layer, shapes, after))


def _load_one_by_one(t: Translation, module: nn.Module, found: dict[str, Place]) -> None:
    """Fill the parameters and then the buffers, one by one."""
    hint = "give it a method load_keras(arrays)"
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    places = [*parameters.items(), *buffers.items()]
    if len({owner for owner, _ in found.values()}) > 1:
        raise t.wrong(
            f"the file has arrays of several sublayers, {counted(list(found), 8)}, in no defined order; {hint}"
        )
    if len(places) < len(found):
        raise t.wrong(
            f"the file has {len(found)} arrays for it, but its stand-in has {len(places)} parameters and buffers: {hint}"
        )
    if len(found) < len(parameters):
        raise t.wrong(
            f"the file has {len(found)} arrays for it, but its stand-in has {len(parameters)} parameters: {hint}"
        )
    for (attribute, tensor), (name, (owner, index)) in zip(places, found.items(), strict=False):
        shape = tuple(tensor.shape)
        holder = module.get_submodule(attribute.rpartition(".")[0])
        try:
            t.plan.file.check(owner, index, shape, floating=False)
        except KerasFileError as error:
            raise t.wrong(
                f"its stand-in's {attribute} has the shape {shape}, but array {name} of the file has another; {hint}"
            ) from error
        if tensor.ndim > 1 and isinstance(holder, _TRANSPOSED):
            raise t.wrong(
                f"its stand-in's {attribute} belongs to torch's {type(holder).__name__}, whose weights have another "
                f"order of axes than in Keras; {hint}"
            )
        tensor.data = torch.from_numpy(t.plan.file.read(owner, index)).contiguous()
        below = owner.removeprefix(t.layer.path).removeprefix("/")
        trains = isinstance(tensor, nn.Parameter)
        arrangement = same_arrangement(shape)
        t.plan.weights.append(Weight(t.layer, attribute, index, t.layer.name, attribute, arrangement, trains, below))


def _warn_of_rules(t: Translation) -> None:
    """Warn of rules in the file that the port does not bind, because a stand-in has other names for its weights."""
    names = {weight.name for weight in t.plan.weights if weight.layer is t.layer} if t.layer.built_in else set()
    bound = {f"{name}_{kind}" for name in names for kind in ("regularizer", "constraint")}
    if t.layer.built_in:
        bound.add("activity_regularizer")
    given = {str(key) for key, value in t.settings.values.items() if value is not None} - bound
    rules = sorted(key for key in given if key.endswith(("_regularizer", "_constraint")))
    if rules:
        warnings.warn(
            f"{t.layer}: {counted(rules, 8)} of the file are not bound to its stand-in; bind them yourself, by "
            f"where='{t.layer.name}.*'",
            stacklevel=7,
        )


def saved_arrays(loaded: Loaded, module: Any) -> dict[Place, np.ndarray]:
    """The arrays that a stand-in returns for the file from ``save_keras``, the counterpart of ``load_keras``.

    Raises:
        SettingError: it has no such method and its parameters have changed, or it returns other arrays than it received.
    """
    layer, names = loaded.layer, list(loaded.arrays)
    if not hasattr(module, "save_keras"):
        if names and _digest(module) != loaded.digest:
            raise SettingError(
                f"{layer}: its stand-in has changed since it was loaded and has no save_keras(): the file would keep the "
                "old arrays; give it one that returns the arrays that load_keras received, or save the model with torch.save"
            )
        if names:
            warnings.warn(f"{layer} has no save_keras(): its arrays in the file are not changed", stacklevel=4)
        return {}
    try:
        given = module.save_keras()
    except Exception as error:
        raise SettingError(
            f"{layer}: save_keras of its stand-in failed: {printable(as_one_line(error), 300)}"
        ) from error
    if not isinstance(given, Mapping):
        given = list(given) if isinstance(given, Sequence) else [given]
        if len(given) != len(names):
            raise SettingError(
                f"{layer}: save_keras returned {len(given)} arrays, but the file has {len(names)} for it"
            )
        given = dict(zip(names, given, strict=True))
    if set(map(str, given)) != set(names):
        raise SettingError(
            f"{layer}: save_keras returned {counted(list(map(str, given)), 12)}, but the file has {counted(names, 12)}"
        )
    arrays = {}
    for name, array in given.items():
        place, shape = loaded.arrays[str(name)]
        values = array.detach().float().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
        if values.shape != shape or values.dtype.kind not in "fiub":
            raise SettingError(
                f"{layer}: save_keras returned {values.dtype} of the shape {values.shape} for {name}, but the file has {shape}"
            )
        arrays[place] = values
    return arrays


def _digest(module: nn.Module) -> str:
    """A digest of the values of all parameters and buffers."""
    found = hashlib.sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not isinstance(tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)):
            values = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return found.hexdigest()
