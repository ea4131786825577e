"""Layers that merge several tensors: sum, product, average, minimum, maximum, and concatenation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.keras.layout import Layout, Shape, keras_layout
from regtorch.keras.plan import Value
from regtorch.keras.shaping import Reshape
from regtorch.keras.translation import Translation, translates


class Merge(nn.Module):
    """Merge several tensors elementwise."""

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor], average: bool = False) -> None:
        super().__init__()
        self.combine = combine
        self.average = average

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return a tensor of the broadcast shape."""
        merged = reduce(self.combine, tensors)
        return merged / len(tensors) if self.average else merged

    def extra_repr(self) -> str:
        """Name of the operation."""
        return "average" if self.average else self.combine.__name__


_COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Average": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


@translates(*_COMBINE)
def merge(t: Translation) -> Value:
    """Elementwise, with broadcasting as in Keras."""
    kind = t.layer.class_name
    if len(t.inputs) < 2 or (kind == "Subtract" and len(t.inputs) != 2):
        raise t.wrong(f"takes {'two' if kind == 'Subtract' else 'two or more'} tensors, not {len(t.inputs)}")
    values = _same_order(t, _same_rank(t))
    layout = values[0].layout.resized(*_broadcast(t, [value.layout.shape for value in values]))
    return t.step(Merge(_COMBINE[kind], kind == "Average"), values, layout)


def _same_rank(t: Translation) -> list[Value]:
    """Add axes of size 1 after the batch to tensors with fewer axes, as Keras does."""
    rank = max(value.layout.rank for value in t.inputs)
    if t.layer.operation and any(value.layout.rank != rank for value in t.inputs):
        raise t.wrong(
            f"an operation on tensors of the shapes {', '.join(str(value.layout.shape) for value in t.inputs)}, which NumPy "
            f"would align at their last axes; give custom={{{t.layer.keras_name!r}: ...}}"
        )
    values = []
    for value in t.inputs:
        if missing := rank - value.layout.rank:
            shape = (*(1,) * missing, *value.layout.shape)
            if None in shape:
                raise t.wrong(f"needs to know the sizes of its input of shape {value.layout.shape}")
            value = t.plan.in_keras_order(value, t.layer.name)
            name = t.plan.unique(f"{t.layer.name}_expand")
            value = t.plan.step(name, Reshape(shape), [value], keras_layout(shape))  # type: ignore[arg-type]
        values.append(value)
    return values


def _same_order(t: Translation, values: list[Value]) -> list[Value]:
    """Bring all tensors into the order of axes of the largest one, and into Keras' order of features unless all agree."""
    if all(value.layout.same_as(values[0].layout) for value in values):
        return values
    values = [t.plan.in_keras_order(v, t.layer.name) if v.layout.features is not None else v for v in values]
    largest = max(values, key=lambda value: sum(size != 1 for size in value.layout.shape))
    return [t.plan.reordered(value, largest.layout.order, t.layer.name) for value in values]


def _broadcast(t: Translation, shapes: list[Shape]) -> Shape:
    result: list[int | None] = []
    for sizes in zip(*shapes, strict=True):
        known = {size for size in sizes if size not in (1, None)}
        if len(known) > 1:
            raise t.wrong(f"its inputs have the shapes {', '.join(map(str, shapes))}, which do not fit together")
        result.append(known.pop() if known else None if None in sizes else 1)
    return tuple(result)


class Concatenate(nn.Module):
    """Concatenate tensors along one dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return a tensor that is larger along the dimension."""
        return torch.cat(tensors, self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


@translates("Concatenate")
def concatenate(t: Translation) -> Value:
    """Along one axis. Each flattened feature map keeps its own order of features."""
    first = t.inputs[0].layout if t.inputs else keras_layout(())
    if len(t.inputs) < 2 or any(value.layout.rank != first.rank for value in t.inputs):
        raise t.wrong("takes two or more tensors with as many dimensions each")
    axes = t.settings.axes("axis", first.rank + 1)
    if len(axes) != 1 or axes[0] == 0:
        raise t.settings.wrong("axis", "one axis other than the batch axis")
    axis = axes[0] - 1
    values = t.inputs if first.rank == 1 and t.layer.calls == 1 else _same_order(t, t.inputs)
    sizes = [value.layout.shape[axis] for value in values]
    shapes = [(*v.layout.shape[:axis], 1, *v.layout.shape[axis + 1 :]) for v in values]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    around = _broadcast(t, shapes)
    layout = values[0].layout.resized(*around[:axis], total, *around[axis + 1 :])
    layout = replace(layout, features=_joined_features([value.layout for value in values]) if first.rank == 1 else None)
    return t.step(Concatenate(layout.dim(axis)), values, layout)


def _joined_features(layouts: list[Layout]) -> np.ndarray | None:
    if all(layout.features is None for layout in layouts):
        return None
    joined, before = [], 0
    for layout in layouts:
        size = int(layout.shape[0] or 0)
        joined.append(before + (np.arange(size) if layout.features is None else layout.features))
        before += size
    return np.concatenate(joined)
