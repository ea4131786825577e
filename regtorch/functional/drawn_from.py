"""Naming a source of randomness to torch's drawing functions."""

from __future__ import annotations

from typing import Any

import torch


def drawn_from(generator: torch.Generator | None) -> dict[str, Any]:
    """``generator=`` for torch's drawing functions, left out when it is None: given as None it stops torch.compile at
    shapes that change."""
    return {} if generator is None else {"generator": generator}
