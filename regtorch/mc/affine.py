"""Dropouts whose noise is a scale and a shift: drawn once for a row, it holds for any input."""

from __future__ import annotations

import copy
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from regtorch.compat.torch_internals import without_dispatch_modes
from regtorch.dropout.base import Noise

#: inputs that a dropout is tried on, one row each; a dropout for a certain number of dimensions is tried on those alone
_SHAPES = ((1, 24), (1, 6, 7), (1, 6, 5, 5), (1, 3, 4, 4, 4))
_tried: WeakKeyDictionary[Noise, bool] = WeakKeyDictionary()


def is_affine(noise: Noise) -> bool:
    """Whether all that a dropout does is ``scale * x + shift``, as its class declares by `Noise.effect`.

    A subclass that inherits this and has a `forward` of its own may do more: it is tried on a few numbers.

    Example:
        >>> import regtorch
        >>> class Mine(regtorch.Dropout):
        ...     def forward(self, x):
        ...         return super().forward(x)
        >>> class Positive(regtorch.Dropout):
        ...     def forward(self, x):
        ...         return super().forward(x).relu()
        >>> is_affine(Mine(drop_prob=0.5)), is_affine(Positive(drop_prob=0.5))
        (True, False)
    """
    if noise.effect is None:
        return False
    if _says_it_of_its_forward(type(noise)):
        return True
    if noise not in _tried:
        _tried[noise] = _behaves_so(noise)
    return _tried[noise]


def _says_it_of_its_forward(kind: type[Noise]) -> bool:
    """Whether the class that declares the effect defines the `forward` that is called, or inherits it."""
    declares = next(cls for cls in kind.__mro__ if "effect" in vars(cls))
    return issubclass(declares, next(cls for cls in kind.__mro__ if "forward" in vars(cls)))


def _behaves_so(noise: Noise) -> bool:
    """Whether scale and shift, found on ones and zeros, give what the dropout gives for numbers of all sizes."""
    worked = False
    for shape in _SHAPES:
        if noise.spatial_dims not in (None, len(shape) - 2):
            continue
        numbers = torch.Generator().manual_seed(1)
        x = torch.randn(shape, generator=numbers) * 10 ** torch.empty(shape).uniform_(-3, 3, generator=numbers)
        try:
            shift, one, found = (_drawn(noise, v, i) for i, v in enumerate((torch.zeros(shape), torch.ones(shape), x)))
            expected = torch.addcmul(shift, one - shift, x)
            changes_only_scale = noise.effect == "affine" or not shift.any()
            if not (changes_only_scale and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)):
                return False
            worked = True
        except Exception:  # it is for inputs of another shape
            continue
    return worked


def _drawn(noise: Noise, x: Tensor, seed: int) -> Tensor:
    """What a dropout gives for a row by the same numbers each time, unless it draws some without its generator."""
    twin = copy.copy(noise)
    twin.training, twin.generator, twin.shared = True, torch.Generator().manual_seed(0), True
    with without_dispatch_modes(), torch.no_grad(), torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return type(noise).forward(twin, x)  # type: ignore[no-any-return]
