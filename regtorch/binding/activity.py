"""An activity regularizer bound to layers; forward hooks read their outputs."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from regtorch.binding.layer_output import examples, first_tensor, inside_transformers
from regtorch.binding.links import Links, names_of
from regtorch.binding.reentrant import Checkpoint, Recomputed, running_checkpoint
from regtorch.binding.selection import select_layers
from regtorch.binding.step_outputs import LastPass, Output, StepOutputs, TransformedOutputs
from regtorch.compat.torch_internals import is_in_backward, is_jit_tracing, transforms_are_active
from regtorch.errors import SettingError
from regtorch.regularizers.activity import Activity
from regtorch.rule import Where
from regtorch.tensor_ops.summed import summed


class BoundActivity:
    """One activity regularizer and the layers to which it is bound; `WeightPenalty` explains the term step.

    Each output is assigned once: to a transformed function, to a training step, or to a pass without gradients or in
    eval mode. Outputs that a backward pass recomputes are not assigned.
    """

    def __init__(self, model: nn.Module, regularizer: Activity, where: Where) -> None:
        self.model = model
        self.regularizer = regularizer
        self.where = where
        self._hooks: list[RemovableHandle] = []
        self._start()
        self._bind()

    def _start(self) -> None:
        """Start without outputs; outputs have graphs and can be neither copied nor pickled."""
        self._step = StepOutputs()
        self._last_pass = LastPass()
        self._transformed = TransformedOutputs()
        # for compiled passes, whose graphs can append to a list but not use the other three
        self._traced: list[Tensor] = []
        self._traced_without_gradients: list[Tensor] = []
        self._traced_was_read = False
        _all_bound.add(self)

    def _bind(self) -> None:
        for hook in self._hooks:
            hook.remove()
        layers = select_layers(self.model, self.where)
        self.names = [name for name, _ in layers]
        self.modules = [layer for _, layer in layers]
        of_transformers = inside_transformers(self.model)
        self._of_transformers = [each for each in of_transformers if any(each[0] is layer for layer in self.modules)]
        #: whether a layer's output is changed in place afterwards; None: unknown yet
        self._changed_in_place: list[bool | None] = [None] * len(layers)
        self._watched: dict[int, tuple[Tensor, int]] = {}
        self._links = Links(self.model, names_of(self.model, self.modules))
        self._hooks = [self.model.register_forward_pre_hook(self._enter)]
        self._hooks += [layer.register_forward_hook(self._collect) for layer in self.modules]
        self._hooks.append(self.model.register_forward_hook(self._leave, always_call=True))

    def _bind_again(self) -> bool:
        """Bind to replacement layers; return False if no layer was replaced or the old ones are only wrapped."""
        if torch.compiler.is_compiling() or not self._links.broken:
            return False
        names, before = self._links.wrapped(), self.modules
        if names is not None:
            self._links = Links(self.model, names)
            return False
        self._bind()
        return [id(layer) for layer in self.modules] != [id(layer) for layer in before]

    # hooks

    def _enter(self, model: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            self._traced_without_gradients = []
            return
        self._bind_again()
        self._last_pass.enter()

    def _leave(self, model: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._last_pass.leave()
        if self._step.has_constants and torch.is_grad_enabled() and (made := first_tensor(output)) is not None:
            self._step.watch_constants(made)

    def _collect(self, layer: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            self._collect_traced(layer, output)
            return
        if is_jit_tracing():
            return
        tensor = self._tensor_of(layer, output)
        if transforms_are_active():
            self._transformed.add(self._cost(layer, output, _copied(tensor)))
            return
        if is_in_backward():
            self._collect_recomputed(layer, output, tensor)
            return
        trains = layer.training or self.model.training
        if trains and torch.is_grad_enabled():
            found = Output(self._cost(layer, output, self._unchanged(layer, tensor)))
            self._step.watch(found, tensor)
            self._step.add(layer, found)
            return
        checkpoint = running_checkpoint() if trains else None
        if checkpoint is not None and checkpoint.is_differentiable:
            self._collect_checkpointed(checkpoint, layer, output, tensor)
            return
        without_graph = checkpoint is not None and not checkpoint.has_inputs_with_gradient
        self._last_pass.add(layer, self._cost(layer, output, _copied(tensor)), without_graph)

    def _collect_checkpointed(self, checkpoint: Checkpoint, layer: nn.Module, output: Any, tensor: Tensor) -> None:
        """In a reentrant checkpoint: collect a value whose gradient the recomputation uses."""
        recomputed = Recomputed(self._name(layer))
        value = self._cost(layer, output, tensor).detach().requires_grad_()
        value.register_hook(recomputed)
        found = Output(value, recomputed=recomputed)
        self._step.watch(found, value)
        self._step.add(layer, found)
        checkpoint.add(self, layer, recomputed)

    def _collect_recomputed(self, layer: nn.Module, output: Any, tensor: Tensor) -> None:
        checkpoint = running_checkpoint()
        recomputed = None if checkpoint is None else checkpoint.take(self, layer)
        if checkpoint is None or recomputed is None:
            # Do not count it twice, but compute it, as the checkpoint compares the number of saved tensors. It does not
            # check their versions: without a copy, a later change in place would silently give a wrong gradient.
            self._cost(layer, output, tensor.clone())
        elif checkpoint.forward is not None:  # nested checkpoints: the inner one recomputes it once more
            checkpoint.add(self, layer, recomputed)
        else:
            recomputed.add_to_gradient(tensor, lambda leaf: self._cost(layer, output, leaf))

    def _collect_traced(self, layer: nn.Module, output: Any) -> None:
        if torch.compiler.is_exporting():
            return
        value = self._cost(layer, output, self._tensor_of(layer, output))
        if torch.is_grad_enabled() and (layer.training or self.model.training):
            if self._traced_was_read:
                self._traced, self._traced_was_read = [], False
            self._traced.append(value)
            return
        # without a call of the model itself, the start of a pass is unknown
        if len(self._traced_without_gradients) >= len(self.modules):
            self._traced_without_gradients = []
        self._traced_without_gradients.append(value)

    def _tensor_of(self, layer: nn.Module, output: Any) -> Tensor:
        tensor = first_tensor(output)
        if tensor is None:
            raise SettingError(
                f"{type(self.regularizer).__name__} is not possible for {self._name(layer)}: its output, a "
                f"{type(output).__name__}, has no tensor; bind it to other layers with where="
            )
        return tensor

    def _cost(self, layer: nn.Module, output: Any, tensor: Tensor) -> Tensor:
        batch_first = next((first for module, first in self._of_transformers if module is layer), None)
        value: Tensor = self.regularizer(tensor, examples(layer, output, tensor, batch_first))
        if value.is_complex():
            raise SettingError(
                f"{type(self.regularizer).__name__} returns a complex number for the output of {self._name(layer)}: it must be real"
            )
        return value

    def _unchanged(self, layer: nn.Module, tensor: Tensor) -> Tensor:
        """The output, or a copy if later code changes it in place, as ``nn.ReLU(inplace=True)`` does.

        The first pass always copies; from the second one on it is known.
        """
        index = next((i for i, module in enumerate(self.modules) if module is layer), None)
        if index is None:  # a layer of a replica made by nn.DataParallel
            return tensor.clone()
        if self._changed_in_place[index] is None:
            if index not in self._watched:
                shared = tensor.detach()  # shares the version counter, but not the graph
                self._watched[index] = (shared, shared._version)
                return tensor.clone()
            shared, version = self._watched.pop(index)
            self._changed_in_place[index] = shared._version != version
        return tensor.clone() if self._changed_in_place[index] else tensor

    def _name(self, layer: nn.Module) -> str:
        return next((name for name, module in zip(self.names, self.modules, strict=True) if module is layer), "a layer")

    # reading

    def __call__(self) -> Tensor | None:
        """The penalty of the outputs so far; None if there are none."""
        values = self._read_traced() if torch.compiler.is_compiling() else self._read()
        return summed(values) if values else None

    def _read_traced(self) -> list[Tensor]:
        if torch.is_grad_enabled() and self.model.training:
            self._traced_was_read = True
            return list(self._traced) or _read_eagerly(self)
        return list(self._traced_without_gradients) or _read_eagerly(self)

    def _read(self) -> list[Tensor]:
        if self._bind_again():
            raise SettingError(
                f"{type(self.regularizer).__name__} has no outputs in this step for layers that replaced others: "
                "call the model's own forward, or call begin_step() after replacing layers"
            )
        if transforms_are_active():
            return self._transformed.read()
        self._take_traced()
        if self._step and (self.model.training or not self._last_pass or self._step_comes_first()):
            return [output.value for output in self._step.all]
        if self._last_pass.without_graph and torch.is_grad_enabled() and self.model.training:
            raise SettingError(
                f"{type(self.regularizer).__name__} has no gradient for {', '.join(self.names)}: no input of their "
                "reentrant activation checkpoint requires one; use_reentrant=False needs none"
            )
        values = self._last_pass.read()
        if not values and self._transformed.lost_some():
            raise SettingError(
                f"{type(self.regularizer).__name__} is not possible outside the function that torch.func transforms (vmap, grad, jvp): "
                "read the penalty inside it, where the layers are called"
            )
        return values if torch.is_inference_mode_enabled() else [value.clone() for value in values]

    def _step_comes_first(self) -> bool:
        """In eval mode: whether outputs of the training step still await their backward pass, and gradients are enabled."""
        return torch.is_grad_enabled() and self._step.waiting

    def _take_traced(self) -> None:
        """Take over the outputs of compiled passes since the last call."""
        if self._traced:
            outputs = [Output(value) for value in self._traced]
            for output in outputs:
                self._step.watch(output, output.value)
            self._step.add(None, *outputs)
            self._traced, self._traced_was_read = [], False
        if self._traced_without_gradients:
            self._last_pass.enter()
            for value in self._traced_without_gradients:
                self._last_pass.add(self.model, value)
            self._last_pass.leave()
            self._traced_without_gradients = []

    def check_gradients(self, optimizer: Optimizer) -> None:
        """Raise a `SettingError` if a reentrant checkpoint failed to pass a penalty's gradient to the optimizer."""
        missing = [output.recomputed for output in self._step.all if output.recomputed and output.recomputed.is_missing]
        if not missing:
            return
        stepped = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        if any(id(weight) in stepped for weight in self.model.parameters()):
            self.forget()
            raise SettingError(missing[0].explanation)

    def step_taken(self) -> None:
        """Record that an optimizer has taken a step."""
        self._take_traced()
        self._step.step_taken()

    def forget(self) -> None:
        """Forget all outputs, as a new step starts."""
        self._bind_again()
        self._step.clear()
        self._transformed.clear()
        self._traced, self._traced_was_read = [], False

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in _STEP_STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._watched = {}
        self._start()


_STEP_STATE = frozenset(
    {"_step", "_last_pass", "_transformed", "_traced", "_traced_without_gradients", "_traced_was_read", "_watched"}
)
_all_bound: weakref.WeakSet[BoundActivity] = weakref.WeakSet()


def _copied(tensor: Tensor) -> Tensor:
    """A copy where there may be a backward pass: an output may be changed in place afterwards."""
    return tensor.clone() if torch.is_grad_enabled() else tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _read_eagerly(bound: BoundActivity) -> list[Tensor]:
    """The values of passes that were not compiled."""
    return bound._read()


def _after_any_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for bound in tuple(_all_bound):
        bound.step_taken()


def _before_any_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for bound in tuple(_all_bound):
        bound.check_gradients(optimizer)


# global hooks, as the optimizer is unknown here and may be created later
register_optimizer_step_pre_hook(_before_any_step)
register_optimizer_step_post_hook(_after_any_step)
