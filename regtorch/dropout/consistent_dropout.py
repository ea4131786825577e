"""Dropout whose masks are stored with a rollout, so that the policy update uses the networks that acted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import keep_scale
from regtorch.errors import NothingBoundError, SettingError
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_module, check_tensor
from regtorch.tensor_ops.keep_mask import masked, unit_mask

__all__ = ["ConsistentDropout", "consistent_dropout"]


def consistent_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    mask: Tensor | None = None,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Inverted dropout with a given or a drawn mask: returns ``x * mask / (1 - drop_prob)`` and the mask.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        mask: True for units to keep, shaped as `x`, or with a batch dimension of 1; None: draw one.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Returns:
        The result and the applied mask; the mask is None if nothing was dropped.

    Source: Hausknecht and Wagener, "Consistent dropout for policy gradient reinforcement learning", 2022.

    Example:
        >>> y, mask = consistent_dropout(torch.ones(2, 8), drop_prob=0.5)
        >>> bool((consistent_dropout(torch.ones(2, 8), drop_prob=0.5, mask=mask)[0] == y).all())
        True
    """
    check_tensor(x, "consistent_dropout")
    if not training or drop_prob == 0:
        return x, None
    if mask is None:
        mask = unit_mask(x, drop_prob, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob)), mask


@register("dropout", "consistent")
class ConsistentDropout(ProbabilityDropout):
    """Dropout whose masks can be stored and reused. See `regtorch.functional.consistent_dropout`.

    By itself it equals `Dropout`; inside `regtorch.consistent` its masks are stored, or given masks are used.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or a mask that is missing or has the wrong shape.

    Example:
        >>> ConsistentDropout(drop_prob=0.1)
        ConsistentDropout(drop_prob=0.1, keep_prob=0.9)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1
    #: the store of masks inside `consistent`; copies lose it
    masks: _Masks | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        drops = self.training and self.drop_prob > 0
        y, mask = consistent_dropout(
            x,
            drop_prob=self.drop_prob,
            mask=self.masks.next(x) if drops and self.masks is not None else None,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )
        if self.masks is not None and mask is not None:
            self.masks.keep(mask)
        return y

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "masks"}


class _Masks:
    """The masks of one dropout, by the number of the call."""

    def __init__(self, name: str, given: Mapping[str, Tensor] | None, kept: dict[str, Tensor]) -> None:
        self.name, self.given, self.kept = name, given, kept
        self.calls = 0

    def next(self, x: Tensor) -> Tensor | None:
        """The given mask for the next call; None: draw one."""
        if self.given is None:
            return None
        site = f"{self.name}#{self.calls}"
        if site not in self.given:
            raise SettingError(
                f"there is no mask for {site}; there are masks for: {', '.join(self.given) or 'nothing'}"
            )
        mask = self.given[site]
        if mask.shape[1:] != x.shape[1:] or len(mask) not in (1, len(x)):
            raise SettingError(
                f"the mask for {site} has shape {tuple(mask.shape)}, its input has shape {tuple(x.shape)}"
            )
        return mask.to(x.device)

    def keep(self, mask: Tensor) -> None:
        """Store the applied mask."""
        self.kept[f"{self.name}#{self.calls}"] = mask
        self.calls += 1


def consistent(
    model: nn.Module, masks: Mapping[str, Tensor] | None = None
) -> AbstractContextManager[dict[str, Tensor]]:
    """Store the masks of a model's `ConsistentDropout`s, or reuse earlier masks, for one forward pass.

    Policy gradients compare the current policy with the policy of the rollout. With new masks this compares different
    networks, and the ratio is not 1 even before the first update; with the masks of the rollout it is.

    Args:
        model: a module with `ConsistentDropout` in it, in training mode.
        masks: the masks of an earlier block, or rows of them: ``{site: mask[rows] for site, mask in masks.items()}``.
            None: draw masks.

    Returns:
        A context manager that returns the used masks, bool tensors (batch, ...), by the dropout's name and the number of
        its call. Store them with the rollout; they can be concatenated, sliced and saved like any tensors.

    Raises:
        NothingBoundError: the model has no `ConsistentDropout`.
        SettingError: a mask is missing, or has another number of rows or units.

    Source: Hausknecht and Wagener, "Consistent dropout for policy gradient reinforcement learning", 2022.

    Example:
        >>> import torch
        >>> policy, x = nn.Sequential(nn.Linear(3, 8), ConsistentDropout(drop_prob=0.5)), torch.ones(4, 3)
        >>> with consistent(policy) as masks:
        ...     acted = policy(x)
        >>> with consistent(policy, masks):
        ...     again = policy(x)
        >>> list(masks), torch.equal(acted, again), torch.equal(acted, policy(x))
        (['1#0'], True, False)
    """
    check_module(model)
    return _consistent(model, masks)


@contextmanager
def _consistent(model: nn.Module, masks: Mapping[str, Tensor] | None) -> Iterator[dict[str, Tensor]]:
    drops = {name: module for name, module in model.named_modules() if isinstance(module, ConsistentDropout)}
    if not drops:
        raise NothingBoundError(f"{type(model).__name__} has no ConsistentDropout whose masks could be stored")
    before = {module: module.masks for module in drops.values()}
    kept: dict[str, Tensor] = {}
    try:
        for name, module in drops.items():
            module.masks = _Masks(name, masks, kept)
        yield kept
    finally:
        for module, earlier in before.items():
            module.masks = earlier
