"""Stochastic depth with drop probabilities that increase with depth."""

from __future__ import annotations

from typing import Any

from torch import nn

from regtorch.dropout.convert import counterpart_of
from regtorch.dropout.drop_path import DropPath
from regtorch.errors import NothingBoundError
from regtorch.settings import PROBABILITY
from regtorch.tensor_ops.arguments import check_module


def depth_schedule(model: nn.Module, *, last: float = 0.5) -> dict[str, float]:
    """Set the drop probability of the l-th of a model's L branches to ``l / L * last``.

    All later layers depend on early ones, so early branches are kept more often. Branches are found by the modules that
    drop them, in the order in which the model registers them: `DropPath`, torchvision's ``StochasticDepth`` (row mode)
    and equivalent modules named ``DropPath`` of timm, transformers or others.

    Args:
        model: any module.
        last: probability that the last branch is dropped, from 0 to 1; the paper takes 0.5.

    Returns:
        Name -> probability, in the order of the branches.

    Raises:
        NothingBoundError: the model has no such module (timm puts an ``Identity`` where the probability is 0).
        SettingError: `last` is not a probability.

    Source: Huang et al., "Deep networks with stochastic depth", 2016, equation 4.

    Example:
        >>> blocks = nn.Sequential(*(DropPath(drop_prob=0.0) for _ in range(4)))
        >>> depth_schedule(blocks, last=0.2)
        {'0': 0.05, '1': 0.1, '2': 0.15, '3': 0.2}
        >>> blocks[1]
        DropPath(drop_prob=0.1, keep_prob=0.9)
    """
    check_module(model)
    PROBABILITY.check("last", last)
    found: dict[str, Any] = {name: module for name, module in model.named_modules() if _drops_branches(module)}
    if not found:
        raise NothingBoundError(f"{type(model).__name__} has no module that drops branches, such as regtorch.DropPath")
    probabilities = {name: round((i + 1) * last / len(found), 12) for i, name in enumerate(found)}
    for name, module in found.items():
        setattr(module, "p" if hasattr(module, "p") else "drop_prob", probabilities[name])
    return probabilities


def _drops_branches(module: nn.Module) -> bool:
    counterpart = counterpart_of(module)
    return counterpart is not None and counterpart[0] is DropPath
