"""The ``generator=`` argument of torch's random functions."""

from __future__ import annotations

from typing import Any

import torch


def generator_kwargs(generator: torch.Generator | None) -> dict[str, Any]:
    """``generator=`` for torch's random functions; left out if it is None, as ``generator=None`` prevents torch.compile from
    supporting dynamic shapes."""
    return {} if generator is None else {"generator": generator}
