"""Whether operations are only looked at, not run one by one."""

import torch


def transformed() -> bool:
    """Whether torch.compile, torch.func or vmap is looking on, which want plain operations."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
