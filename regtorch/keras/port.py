"""A Keras model in torch: the network, its penalties and constraints, and predictions equal to those of Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.errors import KerasFileError, SettingError
from regtorch.keras.archive import WEIGHTS, Archive, checked_path
from regtorch.keras.initialization import initial_values
from regtorch.keras.layout import Layout
from regtorch.keras.network import input_tensors
from regtorch.keras.plan import Plan, Weight
from regtorch.keras.rules import Transformed, make_constraint, make_regularizer, rule_of
from regtorch.keras.stand_in_arrays import saved_arrays
from regtorch.keras.weights import Place, WeightFile
from regtorch.printable import printable
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.l1_l2 import L1L2
from regtorch.settings import COUNT
from regtorch.tensor_ops.summed import summed


class Named:
    """Selects parameters by their full names, for ``where=``."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def __call__(self, module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
        """Whether this parameter is selected."""
        return name in self.names


class KerasPort:
    """The result of `from_keras`. It keeps the file's bytes in memory, so that `save` does not need the file.

    Args:
        archive: the file.
        config: its configuration.
        model: the network.
        plan: the plan of the network.

    Attributes:
        model: the torch module. It takes images in NCHW and returns logits: a softmax or sigmoid at the end of the
            Keras model is left to the loss (``cross_entropy``, ``binary_cross_entropy_with_logits``) and to `predict`.
        penalties: the regularizers, bound to the model's parameters and layers.
        constraints: the constraints, bound: ``for constraint in port.constraints: constraint.attach(optimizer)``.
    """

    def __init__(self, archive: Archive, config: dict[str, Any], model: nn.Module, plan: Plan) -> None:
        self.model = model
        self._archive, self._config = archive, config
        self._weights = sorted(plan.weights, key=lambda w: (w.layer.position, f"{w.index:>9}"))
        self._plan = plan
        self._results: list[Layout] = [value.layout for value in plan.results]
        self._final = [plan.split.get(number, "") for number in plan.graph.outputs]
        self._single = plan.graph.single
        self._output_keys = plan.graph.output_keys
        self.penalties = [*_weight_penalties(model, plan), *_activity_penalties(model, plan)]
        self.constraints = _constraints(model, plan)

    @property
    def final_activation(self) -> str | list[str]:
        """The final activation that `model` omits: ``"softmax"``, ``"sigmoid"`` or ``""``; a list for several outputs."""
        return self._final[0] if self._single else list(self._final)

    def penalty(self) -> Tensor:
        """Return the sum of Keras' ``model.losses``, for the current weights and the outputs of the last forward.

        Returns:
            A 0-dim tensor, float32 or wider, to add to the loss.
        """
        if self.penalties:
            return summed([penalty() for penalty in self.penalties])
        parameter = next(self.model.parameters(), None)
        return torch.zeros((), device=None if parameter is None else parameter.device)

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """Return the same as Keras' ``model.predict``: probabilities if the model ends in a softmax or sigmoid.

        The model runs in eval mode, without dropout.

        Args:
            x: (rows, ...), images in NCHW; NumPy or torch. A list or a mapping if the model has several inputs.
            batch_size: rows per batch, >= 1.

        Returns:
            A NumPy array in Keras' layout; a list or a mapping of arrays if the Keras model returns that.

        Raises:
            SettingError: an input has a shape that the model does not accept, or the inputs differ in their rows.
        """
        COUNT.check("batch_size", batch_size)
        inputs = self._as_inputs(x)
        parameter = next(self.model.parameters(), None)
        device = None if parameter is None else parameter.device
        batches: list[list[np.ndarray]] = []
        with _evaluating(self.model):
            for start in range(0, max(len(inputs[0]), 1), batch_size):
                output = self.model(*(one[start : start + batch_size].to(device) for one in inputs))
                outputs = zip([output] if self._single else output, self._final, self._results, strict=True)
                batches.append([_as_array(in_keras_layout(finish(*result), result[2])) for result in outputs])
        joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        if self._output_keys is not None:
            return dict(zip(self._output_keys, joined, strict=True))
        return joined[0] if self._single else joined

    def _as_inputs(self, x: Any) -> list[Tensor]:
        """Convert `x` to one tensor for each input."""
        names = self._plan.graph.input_names
        is_nested_list = isinstance(x, (list, tuple)) and len(x) > 0 and not hasattr(x[0], "shape")
        inputs = [torch.as_tensor(one) for one in input_tensors(np.asarray(x) if is_nested_list else x, (), names)]
        if len({len(one) if one.ndim else -1 for one in inputs}) > 1 or not all(one.ndim for one in inputs):
            raise SettingError(f"x has the shapes {[tuple(one.shape) for one in inputs]}: all must have as many rows")
        return inputs

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.keras`` file with the current weights of the model. Everything else is copied from the loaded file.

        A stand-in that loaded its arrays with ``load_keras`` returns them from ``save_keras``.

        Raises:
            SettingError: a weight no longer has the shape in the file, or a stand-in does not return its arrays.
            OSError: the file cannot be written; an existing file is unchanged.
        """
        checked_path(path)
        for weight in self._weights:
            shape, wanted = tuple(self._tensor(weight).shape), weight.arrangement.torch_shape
            if shape != wanted:
                raise SettingError(
                    f"{weight.full_name} has the shape {shape}, but layer {weight.layer} of the file has {wanted}: a changed "
                    "network cannot be saved in this file; save it with torch.save"
                )
        file = WeightFile(self._archive.read(WEIGHTS), self._archive.name)
        arrays = self._stand_in_arrays() | {
            weight.place: _as_array(weight.arrangement.to_keras(self._tensor(weight))) for weight in self._weights
        }
        self._archive.save_as(path, file.with_arrays(arrays))

    @torch.no_grad()
    def initialize(self, seed: int = 0) -> None:
        """Initialize all weights again with the initializers in the file: the same network, untrained.

        Statistics of data (such as a Normalization's mean) and the weights of stand-ins are not changed.

        Args:
            seed: seed of the random numbers; torch's global random state is not changed.

        Raises:
            SettingError: an initializer has no counterpart here; the weights are unchanged.
        """
        generator = torch.Generator().manual_seed(seed)
        weights = [weight for weight in self._weights if rule_of(weight, "initializer") is not None]
        values = [initial_values(weight, generator) for weight in weights]
        for weight, value in zip(weights, values, strict=True):
            self._tensor(weight).copy_(value)

    def _stand_in_arrays(self) -> dict[Place, np.ndarray]:
        """The arrays of stand-ins that loaded them with their own ``load_keras``."""
        found: dict[Place, np.ndarray] = {}
        for loaded in self._plan.loaded:
            found |= saved_arrays(loaded, self.model.get_submodule(loaded.layer.name))
        return found

    def _tensor(self, weight: Weight) -> Tensor:
        owner, _, name = weight.full_name.rpartition(".")
        tensor: Tensor = getattr(self.model.get_submodule(owner), name)
        return tensor.detach()

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer of the compiled model, for the model's parameters, with its state (such as Adam's moments).

        None if the file has none.

        Raises:
            SettingError: the optimizer has no counterpart here, or its state belongs to arrays of a stand-in.
            KerasFileError: its state is damaged, or belongs to other weights.
        """
        from regtorch.keras.optimizer import restored_optimizer

        file = WeightFile(self._archive.read(WEIGHTS), self._archive.name)
        trained = [w for w in self._weights if w.trains and w.layer.trainable]
        pairs = [(w, self.model.get_parameter(w.full_name)) for w in trained]
        try:
            return restored_optimizer(
                self._config, file, pairs, self._own_parameters(pairs), self._archive.keras_version()
            )
        except KerasFileError as error:
            message = str(error)
            raise self._archive.error(message if message.startswith(self._archive.name) else f": {message}") from error
        except SettingError as error:
            raise SettingError(printable(str(error))) from error

    def _own_parameters(self, pairs: Sequence[tuple[Weight, nn.Parameter]]) -> dict[str, list[nn.Parameter]]:
        """The parameters of stand-ins that have no separate array in the file, by layer."""
        known = {id(parameter) for _, parameter in pairs}
        found: dict[str, list[nn.Parameter]] = {}
        for layer in self._plan.stand_ins:
            own = [p for p in self.model.get_submodule(layer.name).parameters() if p.requires_grad]
            if left := [parameter for parameter in own if id(parameter) not in known]:
                found[str(layer)] = left
        return found

    def to_config(self) -> dict[str, Any]:
        """Return the configuration for ``train.py`` that builds an equal model with equal rules.

        Raises:
            SettingError: there is none; the message names the reason.
        """
        from regtorch.keras.to_config import equivalent_config

        return equivalent_config(self._config, self._plan)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._archive.path}: {self.model!r})"


def finish(output: Tensor, activation: str, layout: Layout) -> Tensor:
    """Apply the final activation that the model omits."""
    if activation == "softmax":
        return output.softmax(layout.dim(-1))
    return output.sigmoid() if activation == "sigmoid" else output


def in_keras_layout(tensor: Tensor, layout: Layout) -> Tensor:
    """Return a batch with the axes of Keras."""
    return tensor.permute(0, *(layout.dim(axis) for axis in range(layout.rank)))


def _as_array(tensor: Tensor) -> np.ndarray:
    wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # NumPy has no bfloat16
    return wide.numpy(force=True)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _weight_penalties(model: nn.Module, plan: Plan) -> list[WeightPenalty]:
    """One penalty for each regularizer, bound to all weights with an equal regularizer."""
    bound: dict[str, tuple[Any, list[str]]] = {}
    for weight in plan.weights:
        node = rule_of(weight, "regularizer")
        if node is not None and weight.layer.built_in:
            owner = f"layer {weight.layer}: {weight.name}_regularizer"
            rule = make_regularizer(owner, node, plan.custom, weight.arrangement)
            key = weight.full_name if isinstance(rule, Transformed) else repr(rule)
            bound.setdefault(key, (rule, []))[1].append(weight.full_name)
    return [WeightPenalty(model, rule, where=Named(names)) for rule, names in bound.values()]


def _activity_penalties(model: nn.Module, plan: Plan) -> list[WeightPenalty]:
    penalties = []
    bound: set[tuple[Any, str]] = set()
    for number, call in enumerate(plan.graph.calls):
        layer, settings = call.layer, call.layer.settings
        node, end = settings.get("activity_regularizer"), plan.ends.get(number)
        if not layer.built_in or end is None or (layer, end) in bound:
            continue
        bound.add((layer, end))  # calls that share a module share its hook
        owner = f"layer {layer}: activity_regularizer"
        if layer.class_name == "ActivityRegularization":
            rule: Any = L1L2(settings.number("l1", 0.0, low=0), settings.number("l2", 0.0, low=0))
        elif node is not None:
            rule = make_regularizer(owner, node, plan.custom)
        else:
            continue
        if (final := plan.split.get(number)) and number not in plan.logits:
            layout = plan.results[plan.graph.outputs.index(number)].layout
            rule = Transformed(rule, _Final(final, layout))
        penalties.append(WeightPenalty(model, Activity(rule), where=f"all:{end}"))
    return penalties


class _Final:
    """The final activation as a function, for a penalty on an output whose activation the model omits."""

    def __init__(self, activation: str, layout: Layout) -> None:
        self.activation, self.layout = activation, layout

    def __call__(self, output: Tensor) -> Tensor:
        return finish(output, self.activation, self.layout)


def _constraints(model: nn.Module, plan: Plan) -> list[WeightConstraint]:
    constraints = []
    for weight in plan.weights:
        node = rule_of(weight, "constraint")
        if node is not None and weight.layer.built_in:
            owner = f"layer {weight.layer}: {weight.name}_constraint"
            rule = make_constraint(owner, node, plan.custom, weight.arrangement)
            constraints.append(WeightConstraint(model, rule, where=Named([weight.full_name])))
    return constraints
