"""What a model's output means: probabilities of classes, a mean with its noise, or numbers as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.functional.full_precision import widened

Transform = Literal["softmax", "sigmoid", "gaussian"] | Callable[[Any], Tensor] | None

#: up to so many classes softmax is faster across rows than along them
_FEW_CLASSES = 64


def outcome(output: Any, transform: Transform) -> Tensor:
    """A model's output as predictions (rows, ...), in float32 or wider.

    Args:
        output: what the model gave; whole numbers and truth values become numbers of float32.
        transform: ``"softmax"`` over dimension 1, ``"sigmoid"``, a function of the output, ``"gaussian"`` for means
            and logarithms of variances, side by side in dimension 1 or as a pair (they stay side by side), or None.

    Raises:
        SettingError: an output that the transform cannot take, or numbers from a function that are not finite.

    Example:
        >>> outcome(torch.zeros(1, 4), "softmax")
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    if callable(transform):
        made = transform(output)
        name = getattr(transform, "__name__", repr(transform))
        if isinstance(made, Tensor) and 0 in made.shape[1:]:
            raise SettingError(f"transform={name} is not allowed: it gave shape {tuple(made.shape)}, nothing in a row")
        if not isinstance(made, Tensor) or not made.is_floating_point():
            kind = made.dtype if isinstance(made, Tensor) else type(made).__name__
            raise SettingError(f"transform={name} is not allowed: it must give a floating point tensor, it gave {kind}")
        if not torch.isfinite(made).all():
            raise SettingError(f"transform={name} is not allowed: it gave numbers that are not finite")
        return widened(made)
    output = getattr(output, "logits", output)
    if transform == "gaussian" and isinstance(output, (tuple, list)) and len(output) == 2:
        output = torch.cat([*output], 1)
    if not isinstance(output, Tensor):
        raise SettingError(
            f"transform={transform} is not allowed: the model gives a {type(output).__name__}; "
            "write a function that makes a tensor (rows, ...) of it"
        )
    if output.is_complex():
        raise SettingError(f"transform={transform} is not allowed: the model gives complex numbers, {output.dtype}")
    if 0 in output.shape[1:]:
        raise SettingError(f"the model gives shape {tuple(output.shape)}: there is nothing in a row")
    wide = widened(output if output.is_floating_point() else output.float())
    if transform == "softmax":
        if wide.ndim < 2:
            raise SettingError(
                f"transform=softmax is not allowed: the model gives shape {tuple(wide.shape)}, no classes"
            )
        if wide.ndim == 2 and wide.shape[1] <= _FEW_CLASSES:
            return wide.t().contiguous().softmax(0).t()
        return wide.softmax(1)
    if transform == "gaussian" and (wide.ndim < 2 or wide.shape[1] % 2):
        raise SettingError(
            f"transform=gaussian is not allowed: the model gives shape {tuple(wide.shape)}; dimension 1 must hold means "
            "and as many logarithms of variances"
        )
    return wide.sigmoid() if transform == "sigmoid" else wide


def entropy(probabilities: Tensor, transform: Transform) -> Tensor:
    """Of each row's distribution, in nats: over dimension 1 with softmax, the sum of each unit's with sigmoid.

    Args:
        probabilities: (rows, ...).
        transform: what made them.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), "softmax")
        tensor([0.6931, 0.0000])
    """
    tiny = torch.finfo(probabilities.dtype).tiny
    terms = probabilities * probabilities.clamp_min(tiny).log()
    if transform == "sigmoid":
        terms = terms + (1 - probabilities) * (1 - probabilities).clamp_min(tiny).log()
    total: Tensor = terms.sum(tuple(range(1, terms.ndim))) if terms.ndim > 1 else terms
    return 0.0 - total
