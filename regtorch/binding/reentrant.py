"""Activity penalties under ``torch.utils.checkpoint`` with ``use_reentrant=True``.

Layers run once without a graph, and again in the backward pass. The first pass yields the penalty's value as a leaf,
which records the gradient of the loss with respect to it. The second pass adds this gradient, times the penalty's own
gradient, to the gradient of the layer's output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import SettingError

_ATTRIBUTE = "_regtorch_recomputed"


@dataclass(eq=False)
class Recomputed:
    """An output that the backward pass recomputes.

    Args:
        name: name of the layer, for messages.
        gradient: gradient of the loss with respect to the penalty, once known; None after it was added.
        missed: whether the output was recomputed before the gradient was known.
    """

    name: str
    gradient: Tensor | None = None
    missed: bool = False

    def __call__(self, gradient: Tensor) -> None:
        """Record the gradient; a hook of the penalty's value.

        Raises:
            SettingError: the layer was recomputed already, so nothing can be added to its gradient.
        """
        if self.missed:
            raise SettingError(
                f"the activity penalty of {self.name} can no longer get a gradient: its reentrant activation checkpoint has "
                "run its backward pass; add the penalty to the loss before backward(), or use use_reentrant=False"
            )
        self.gradient = gradient

    @property
    def is_missing(self) -> bool:
        """Whether the gradient was recorded, but not added."""
        return self.gradient is not None

    @property
    def explanation(self) -> str:
        """The reason why the gradient was not added."""
        return (
            f"the activity penalty of {self.name} has no gradient: its reentrant activation checkpoint passes no "
            "gradient to it, as the loss does not depend on its output; use use_reentrant=False"
        )

    def add_to_gradient(self, tensor: Tensor, cost: Callable[[Tensor], Tensor]) -> None:
        """Add the penalty's gradient to that of a recomputed output.

        Args:
            tensor: the output, with its graph.
            cost: returns the penalty of an output.
        """
        with torch.enable_grad():
            leaf = tensor.detach().requires_grad_()
            value = cost(leaf)
            if self.gradient is None:
                self.missed = True
                return
            (found,) = torch.autograd.grad(value, leaf, self.gradient.to(value))
        if tensor.requires_grad:
            tensor.register_hook(_Add(self, found))
        else:
            self.gradient = None  # no parameter is upstream of it


@dataclass(eq=False)
class _Add:
    """A hook of the recomputed output."""

    recomputed: Recomputed
    found: Tensor

    def __call__(self, gradient: Tensor) -> Tensor:
        self.recomputed.gradient = None
        return gradient + self.found


@dataclass(eq=False)
class _Waiting:
    """The outputs of one checkpoint in the order of its layers' calls; stored at its node in the graph."""

    outputs: dict[tuple[int, nn.Module], list[Recomputed]] = field(default_factory=dict)
    backward: FrameType | None = None
    taken: dict[tuple[int, nn.Module], int] = field(default_factory=dict)

    def take(self, key: tuple[int, nn.Module], backward: FrameType) -> Recomputed | None:
        """The next output of a layer in this backward pass."""
        if self.backward is not backward:
            self.backward, self.taken = backward, {}
        index = self.taken.get(key, 0)
        self.taken[key] = index + 1
        found = self.outputs.get(key, [])
        return found[index] if index < len(found) else None


@dataclass(frozen=True)
class Checkpoint:
    """The reentrant checkpoints around the running code.

    Args:
        forward: the node of the outermost checkpoint that runs without a graph; None: there is none.
        backward: the frame of the backward pass that recomputes this code; None: there is none.
    """

    forward: Any
    backward: FrameType | None

    @property
    def is_differentiable(self) -> bool:
        """Whether a backward pass is possible because an input requires a gradient."""
        return bool(self.forward.next_functions)

    @property
    def has_inputs_with_gradient(self) -> bool:
        """Whether an input requires a gradient, if gradients are enabled around the checkpoint."""
        return any(self.forward.needs_input_grad)

    def add(self, owner: object, layer: nn.Module, output: Recomputed) -> None:
        """Keep an output until the checkpoint is recomputed."""
        waiting = getattr(self.forward, _ATTRIBUTE, None)
        if waiting is None:
            waiting = _Waiting()
            setattr(self.forward, _ATTRIBUTE, waiting)
        waiting.outputs.setdefault((id(owner), layer), []).append(output)

    def take(self, owner: object, layer: nn.Module) -> Recomputed | None:
        """The output that is being recomputed; None if it was not seen before."""
        if self.backward is None:
            return None
        waiting = getattr(self.backward.f_locals["ctx"], _ATTRIBUTE, None)
        return None if waiting is None else waiting.take((id(owner), layer), self.backward)


def running_checkpoint() -> Checkpoint | None:
    """The reentrant checkpoints around the caller; None if there are none."""
    checkpointing = sys.modules.get("torch.utils.checkpoint")
    if checkpointing is None:
        return None
    function = checkpointing.CheckpointFunction
    forward, backward = function.forward.__code__, function.backward.__code__
    frame, found = sys._getframe(1), None
    while frame is not None:
        if frame.f_code is forward:
            found = frame.f_locals["ctx"]
        elif frame.f_code is backward:
            return Checkpoint(found, frame)
        elif frame.f_code.co_name == "recompute_fn" and frame.f_globals is vars(checkpointing):
            break  # a checkpoint of the other kind computes all inside it again: a backward pass outside is not for that
        frame = frame.f_back  # type: ignore[assignment]
    return None if found is None else Checkpoint(found, None)
