"""Detection of transforms and compilation."""

import torch

from regtorch.compat.torch_internals import forward_mode_is_active, transforms_are_active


def transformed() -> bool:
    """Whether code runs under torch.compile, torch.func or vmap, which need plain operations."""
    return torch.compiler.is_compiling() or transforms_are_active()


def needs_plain_operations() -> bool:
    """Whether a formula must be written in torch's own operations, not as an ``autograd.Function``.

    True inside a transform of ``torch.func`` (``vmap``, ``grad``, ``jvp``, ``jacfwd``, ``hessian`` and any nesting of
    them) and inside ``torch.autograd.forward_ad.dual_level``: torch has all derivatives and batching rules for its own operations.
    """
    return transforms_are_active() or forward_mode_is_active()
