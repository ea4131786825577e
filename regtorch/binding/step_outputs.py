"""The penalties of layers' outputs, kept until their step ends."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from regtorch.binding.reentrant import Recomputed
from regtorch.compat.torch_internals import backward_keeps_graph


@dataclass(eq=False)
class Output:
    """The penalty of one output of a layer.

    Args:
        value: the penalty, a 0-dim tensor.
        spent: whether a backward pass has freed the output's graph.
        before_step: whether an optimizer has taken a step since.
        recomputed: passes the gradient on when a reentrant checkpoint is recomputed.
        constant: whether it has no graph, such as the output of a frozen layer.
        watched: whether the value of a constant is watched.
    """

    value: Tensor
    spent: bool = False
    before_step: bool = False
    recomputed: Recomputed | None = None
    constant: bool = False
    watched: bool = False


@dataclass(frozen=True, eq=False)
class _Spend:
    """A tensor hook; not a closure, so that graphs with it can be copied."""

    output: weakref.ref[Output]
    of: weakref.ref[StepOutputs]

    def __call__(self, gradient: Tensor) -> None:
        output, outputs = self.output(), self.of()
        if output is None or outputs is None or backward_keeps_graph():
            return
        output.spent = outputs.some_spent = True


class StepOutputs:
    """The outputs of training passes in the current step.

    A new output removes all outputs whose graph a backward pass has freed, and those of the same layer from before the
    last optimizer step. Other outputs stay: a generator's output may await its loss while the discriminator takes a step.
    """

    def __init__(self) -> None:
        self._of_layer: dict[nn.Module | None, list[Output]] = {}
        self.some_spent = False
        self.has_constants = False

    def __bool__(self) -> bool:
        return any(self._of_layer.values())

    @property
    def all(self) -> list[Output]:
        """The outputs, layer by layer."""
        return [output for outputs in self._of_layer.values() for output in outputs]

    @property
    def waiting(self) -> bool:
        """Whether a backward pass may still follow for one of the outputs."""
        return any(not output.spent and not output.before_step for output in self.all)

    def add(self, layer: nn.Module | None, *outputs: Output) -> None:
        """Add outputs of a layer; None: of an unknown layer of a compiled model."""
        if self.some_spent:
            self._forget_spent()
        kept = [output for output in self._of_layer.get(layer, ()) if not output.before_step]
        self._of_layer[layer] = [*kept, *outputs]

    def watch(self, output: Output, tensor: Tensor) -> None:
        """Record when a backward pass runs through the tensor of an output and frees its graph.

        A constant has no graph: its penalty becomes a leaf that the backward pass reaches.
        """
        if not tensor.requires_grad:
            tensor = output.value
            output.constant = not tensor.requires_grad
            self.has_constants |= output.constant
            if output.constant and tensor.is_floating_point():
                tensor = output.value = tensor.detach().requires_grad_()
        if tensor.requires_grad:
            # weak references, as a reference cycle through the graph could never be freed
            tensor.register_hook(_Spend(weakref.ref(output), weakref.ref(self)))

    def watch_constants(self, tensor: Tensor) -> None:
        """Note when a backward pass goes through what the model made of constants, which may not be in the loss."""
        if not tensor.requires_grad:
            return
        for output in self.all:
            if output.constant and not output.spent and not output.watched:
                output.watched = True
                self.watch(output, tensor)

    def _forget_spent(self) -> None:
        # a constant that is not in the loss belongs to the step of the outputs with a graph
        graph_is_freed = any(output.spent and not output.constant for output in self.all)
        kept = {
            layer: [output for output in outputs if not output.spent and not (output.constant and graph_is_freed)]
            for layer, outputs in self._of_layer.items()
        }
        self._of_layer = {layer: outputs for layer, outputs in kept.items() if outputs}
        self.some_spent = False

    def step_taken(self) -> None:
        """Record that an optimizer has taken a step."""
        for output in self.all:
            output.before_step = True

    def clear(self) -> None:
        """Forget all outputs."""
        self._of_layer = {}
        self.some_spent = self.has_constants = False


class LastPass:
    """The outputs of the last pass in eval mode or without gradients.

    A pass starts with the bound model's own ``forward``. If only parts of the model are called, it starts with the first
    output after the value was read, or with an output of a layer that is already in the pass.
    """

    def __init__(self) -> None:
        self._values: list[tuple[nn.Module, Tensor]] = []
        self._is_over = False
        self._inside = False
        #: whether a reentrant activation checkpoint without inputs that require a gradient ran one of the layers
        self.without_graph = False

    def __bool__(self) -> bool:
        return bool(self._values)

    def enter(self) -> None:
        """Record that the bound model's own ``forward`` starts."""
        self._inside = self._is_over = True

    def leave(self) -> None:
        """Record that the bound model's own ``forward`` has ended."""
        self._inside = False

    def add(self, layer: nn.Module, value: Tensor, without_graph: bool = False) -> None:
        """Add an output."""
        again = not self._inside and any(seen is layer for seen, _ in self._values)
        if self._is_over or again:
            self._values = []
            self._is_over = self.without_graph = False
        self.without_graph |= without_graph
        self._values.append((layer, value))

    def read(self) -> list[Tensor]:
        """The penalties of the outputs."""
        if not self._inside:
            self._is_over = True
        return [value for _, value in self._values]

    def clear(self) -> None:
        """Forget all outputs."""
        self._values = []
        self.without_graph = False


class TransformedOutputs:
    """The outputs inside transforms of ``torch.func``; they are valid only inside the transformed call."""

    def __init__(self) -> None:
        self._values: list[tuple[Any, Tensor]] = []
        self._lost = False
        self._read = True

    def add(self, value: Tensor) -> None:
        """Add an output of the innermost running transformed function."""
        self._forget_ended()
        frames = _transforms()
        self._values.append((frames[0] if frames else None, value))
        self._read = False

    def read(self) -> list[Tensor]:
        """The penalties of the outputs of the running transformed functions."""
        self._forget_ended()
        self._read = True
        return [value for _, value in self._values]

    def _forget_ended(self) -> None:
        running = _transforms()
        kept = [(frame, value) for frame, value in self._values if any(frame is each for each in running)]
        self._lost = self._lost or (len(kept) < len(self._values) and not self._read)
        self._values = kept

    def lost_some(self) -> bool:
        """Whether outputs of a call that has ended were never read."""
        self._forget_ended()
        return self._lost

    def clear(self) -> None:
        """Forget all outputs."""
        self._values = []
        self._lost = False
        self._read = True


def _transforms() -> list[Any]:
    """The frames of torch's running transforms, innermost first.

    Levels are renumbered in each call, so only the frame distinguishes one call from the next.
    """
    frame, found = sys._getframe(1), []
    while frame is not None:
        if frame.f_globals.get("__name__") in ("torch._functorch.vmap", "torch._functorch.eager_transforms"):
            found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found
