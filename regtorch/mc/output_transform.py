"""What a model's output means: probabilities of classes, a mean with its noise, or numbers as they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.mc.output_selection import Output, mean_and_log_variance, selected
from regtorch.tensor_ops.full_precision import widened


class OutputFunction(Protocol):
    """A function of a model's output, of any type, that returns predictions (rows, ...)."""

    def __call__(self, output: Any, /) -> Tensor:
        """The predictions."""


Transform = Literal["softmax", "probabilities", "sigmoid", "gaussian"] | OutputFunction | None

#: up to so many classes softmax is faster across rows than along them
_FEW_CLASSES = 64
#: how far from 1 the sum of a row's probabilities may be: rounding in half precision
_ROUNDING = 5e-3


def outcome(
    output: Any, transform: Transform, select: Output = None, class_dim: int | None = 1, rows_at: int = 0
) -> Tensor:
    """A model's output as predictions (rows, ...), in float32 or wider.

    Args:
        output: what the model gave; integers and truth values become numbers of float32.
        transform: ``"softmax"`` over the classes, ``"sigmoid"``, ``"probabilities"`` for what is one of them already, a
            function of the output, ``"gaussian"`` for means and logarithms of variances, side by side in the
            dimension of the classes, as a pair, or named ``mean`` and ``log_var`` (they come back side by side), or
            None.
        select: which part of the output to take, see `selected`; a transform function is given that part, and all of
            the output if it is None.
        class_dim: the dimension of the classes; None: there is none, each entry stands for itself.
        rows_at: the dimension of the output that has the rows, and becomes the first; a function is given the output as
            it is.

    Raises:
        SettingError: an output that the transform cannot take, or numbers from a function that are not finite.

    Example:
        >>> outcome(torch.zeros(1, 4), "softmax")
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    if callable(transform):
        return _by_function(output if select is None else selected(output, select), transform)
    values = _tensor_of(output, transform, select, class_dim, rows_at)
    if values.is_complex():
        raise SettingError(f"transform={transform} is not allowed: the model gives complex numbers, {values.dtype}")
    if 0 in values.shape[1:]:
        raise SettingError(f"the model gives shape {tuple(values.shape)}: there is nothing in a row")
    wide = widened(values if values.is_floating_point() else values.float())
    dim = classes_at(wide.ndim, class_dim, tuple(wide.shape))
    if transform == "softmax":
        return _softmax(wide, _checked_classes(wide, dim))
    if transform == "probabilities":
        return _checked_probabilities(wide, dim)
    if transform == "gaussian" and (dim is None or wide.shape[dim] % 2):
        raise SettingError(
            f"transform=gaussian is not allowed: the model gives shape {tuple(wide.shape)}; dimension "
            f"{1 if dim is None else dim} must hold means and as many logarithms of variances"
        )
    return wide.sigmoid() if transform == "sigmoid" else wide


def classes_at(ndim: int, class_dim: int | None, shape: tuple[int, ...] | None = None) -> int | None:
    """The dimension of the classes in predictions of `ndim` dimensions; None where there is none.

    Args:
        ndim: number of dimensions, the batch's included.
        class_dim: the dimension, from the end if negative.
        shape: of the predictions, for the message.

    Raises:
        SettingError: there is no such dimension, or it is the batch's.

    Example:
        >>> classes_at(3, -1), classes_at(1, 1)
        (2, None)
    """
    if class_dim is None or (class_dim == 1 and ndim < 2):  # one number a row
        return None
    dim = class_dim + ndim if class_dim < 0 else class_dim
    if not 1 <= dim < ndim:
        of = f"shape {shape}" if shape is not None else f"{ndim} dimensions"
        allowed = f"one from 1 to {ndim - 1}" if ndim > 2 else "1" if ndim == 2 else "None"
        raise SettingError(
            f"class_dim={class_dim} is not allowed: the predictions have {of}, of which dimension 0 is the batch; "
            f"give {allowed}"
        )
    return dim


def looks_like_probabilities(output: Any, select: Output = None, class_dim: int | None = 1, rows_at: int = 0) -> bool:
    """Whether each row of a model's output already is a distribution over classes, as after a softmax.

    Example:
        >>> looks_like_probabilities(torch.tensor([[0.9, 0.1]])), looks_like_probabilities(torch.tensor([[2.0, -1.0]]))
        (True, False)
    """
    values = _tensor_of(output, "softmax", select, class_dim, rows_at)
    dim = classes_at(values.ndim, class_dim)
    if dim is None or not values.is_floating_point() or not values.numel():
        return False
    return _are_distributions(widened(values), dim)


def warn_of_probabilities(model: str, transform: str) -> None:
    """Warn that a model's output already is what the transform would make of it."""
    warnings.warn(
        f"transform={transform}: the outputs of {model} look like probabilities already, and a second {transform} "
        "changes them; take them as they are by transform='probabilities', or transform=None without entropies",
        stacklevel=2,
    )


def entropy(probabilities: Tensor, class_dim: int | None = 1, binary: bool = False) -> Tensor:
    """Of each distribution, in nats: (rows, ...) without the dimension of the classes.

    Args:
        probabilities: (rows, ...).
        class_dim: the dimension of the classes, or None.
        binary: whether each entry is a distribution of its own; the entropies in the dimension of the classes are added.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor([0.6931, 0.0000])
    """
    tiny = torch.finfo(probabilities.dtype).tiny
    terms = probabilities * probabilities.clamp_min(tiny).log()
    if binary:
        terms = terms + (1 - probabilities) * (1 - probabilities).clamp_min(tiny).log()
    dim = classes_at(terms.ndim, class_dim)
    total: Tensor = terms if dim is None else terms.sum(dim)
    return 0.0 - total


def _by_function(output: Any, transform: Callable[[Any], Tensor]) -> Tensor:
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


def parts_to_predict(output: Any, transform: Transform, select: Output) -> tuple[Tensor, ...]:
    """The tensor of an output that the transform is for; two of them where means and log variances are apart.

    Raises:
        SettingError: there is none.

    Example:
        >>> len(parts_to_predict((torch.zeros(1), torch.ones(1)), "gaussian", None))
        2
    """
    chosen = output if select is None else selected(output, select)
    if transform == "gaussian" and (pair := mean_and_log_variance(chosen)) is not None:
        return pair
    found = selected(chosen)
    if not isinstance(found, Tensor):
        kind = type(found).__name__
        raise SettingError(f"output={select} is not allowed: it chooses a {kind}, and must choose a tensor (rows, ...)")
    return (found,)


def _tensor_of(output: Any, transform: Transform, select: Output, class_dim: int | None, rows_at: int) -> Tensor:
    """The same as one tensor, rows first."""
    parts = parts_to_predict(output, transform, select)
    if rows_at:
        parts = tuple(part.movedim(rows_at, 0) for part in parts)
    return parts[0] if len(parts) == 1 else _side_by_side(parts[0], parts[1], class_dim)


def _side_by_side(mean: Tensor, log_variance: Tensor, class_dim: int | None) -> Tensor:
    if mean.shape != log_variance.shape:
        raise SettingError(
            f"transform=gaussian is not allowed: the model gives means of shape {tuple(mean.shape)} and logarithms of "
            f"variances of shape {tuple(log_variance.shape)}; they must have the same shape"
        )
    dim = classes_at(mean.ndim, class_dim, tuple(mean.shape))
    return torch.stack([mean, log_variance], 1) if dim is None else torch.cat([mean, log_variance], dim)


def _checked_classes(wide: Tensor, dim: int | None) -> int:
    shape = tuple(wide.shape)
    if dim is None:
        raise SettingError(
            f"transform=softmax is not allowed: the model gives shape {shape}, no classes; take transform='sigmoid' for "
            "one logit a row, or None or 'gaussian' for a regression"
        )
    if wide.shape[dim] < 2:
        raise SettingError(
            f"transform=softmax is not allowed: the model gives shape {shape}, and a softmax over one column is always 1; "
            "take transform='sigmoid' for one logit, None or 'gaussian' for a regression, or class_dim= where the classes "
            "are in another dimension"
        )
    return dim


def _softmax(wide: Tensor, dim: int) -> Tensor:
    if wide.ndim == 2 and wide.shape[1] <= _FEW_CLASSES:
        return wide.t().contiguous().softmax(0).t()
    return wide.softmax(dim)


def _checked_probabilities(wide: Tensor, dim: int | None) -> Tensor:
    binary = dim is None or wide.shape[dim] == 1
    if not (_are_inside(wide) if binary else _are_distributions(wide, dim)):
        raise SettingError(
            f"transform=probabilities is not allowed: the model gives numbers that are not from 0 to 1"
            f"{'' if binary else ' with the sum 1'}; take transform='{'sigmoid' if binary else 'softmax'}' for logits, or "
            "class_dim=None where each entry is a probability of its own"
        )
    return wide.clamp(max=1)


def _are_inside(wide: Tensor) -> bool:
    return not wide.numel() or bool((wide.min() >= 0) & (wide.max() <= 1 + _ROUNDING))


def _are_distributions(wide: Tensor, dim: int | None) -> bool:
    return (
        dim is not None
        and wide.shape[dim] > 1
        and _are_inside(wide)
        and bool(((wide.sum(dim) - 1).abs() <= _ROUNDING).all())
    )
