"""Dropout inside ``F.scaled_dot_product_attention``, drawn by a sampler."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from regtorch.dropout.base import Noise
from regtorch.dropout.dropout import Dropout


class Dropping(Protocol):
    """What drops: a `Sampler`."""

    neutral: bool

    def drop(self, name: str, noise: Noise, x: Tensor, in_place: bool = False) -> Tensor:
        """Drop units of `x`."""


_warned_once = False


def is_attention(function: Any) -> bool:
    """Whether this is torch's attention function."""
    return function is F.scaled_dot_product_attention


def attention(sampler: Dropping, *args: Any, **kwargs: Any) -> Tensor | None:
    """``F.scaled_dot_product_attention`` with the sampler's dropout of the attention weights.

    Args:
        sampler: draws the mask.
        *args, **kwargs: as the function takes them.

    Returns:
        The output; None if the sampler cannot draw for these arguments, and the function has to be watched.
    """
    return _attention(sampler, *args, **kwargs)


def _attention(
    sampler: Dropping,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    drop_prob = 0.0 if sampler.neutral else float(dropout_p)
    if drop_prob == 0:
        further = {"scale": scale, "enable_gqa": enable_gqa}
        return F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, **further)  # type: ignore[arg-type]
    if not hasattr(torch, "_scaled_dot_product_attention_math") or drop_prob == 1:
        return None
    if query.is_nested or query.ndim != key.ndim or query.shape[:-3] != key.shape[:-3]:
        return None
    kept = sampler.drop(
        "scaled_dot_product_attention", _dropout(drop_prob), query.new_ones((*query.shape[:-1], key.shape[-2]))
    )
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
    # the function's own arithmetic, with a mask that is given instead of drawn
    with _first_warning_ignored():
        out, _ = torch._scaled_dot_product_attention_math(
            query, key, value, attn_mask, drop_prob, is_causal, kept != 0, scale=scale, enable_gqa=enable_gqa
        )
    return out


@lru_cache(maxsize=256)
def _dropout(drop_prob: float) -> Dropout:
    return Dropout(drop_prob=drop_prob)


def _first_warning_ignored() -> AbstractContextManager[object]:
    """Torch warns once in a process of a mask that is given."""
    global _warned_once
    if _warned_once:
        return nullcontext()
    _warned_once = True
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    return stack
