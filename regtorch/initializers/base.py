"""The base of all initializers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regtorch.initializers.random_state import random_state_of_first_process
from regtorch.registry.configurable import Configurable
from regtorch.tensor_ops.sharded import is_sharded, local_shard, shard_of


class Initializer(Configurable):
    """Fills a tensor in place. Subclass it and write `fill(w, generator)`.

    Weights have torch's layout: (out, in) or (out, in/groups, *kernel). For a transposed convolution (in, out, *kernel),
    which Keras reads in this layout too, pass ``weight.transpose(0, 1)`` to use its true fans; for a grouped one pass
    this view of each chunk.

    Example:
        >>> import regtorch
        >>> layer = torch.nn.ConvTranspose2d(4, 64, 3)
        >>> w = regtorch.HeUniform()(layer.weight.transpose(0, 1))  # fan_in is 4 * 9
        >>> bool(0.40 < layer.weight.max() <= (6 / 36) ** 0.5)
        True
    """

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill `w`, which is float32 or wider and not empty, in place."""
        raise TypeError(f"{type(self).__qualname__} must define fill(w, generator)")

    @torch.no_grad()
    def __call__(self, tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fill a tensor in place, without gradient, and return it.

        Args:
            tensor: a tensor of any floating type; half precision is drawn in float32 and rounded. Meta and empty tensors
                are not changed. For a DTensor each process keeps its shard of the full draw, which is the draw of an
                unsharded tensor with the random state of the first process.
            generator: source of all randomness; by default torch's own.
        """
        if tensor.is_meta or tensor.numel() == 0:
            return tensor
        if is_sharded(tensor):
            self._draw_shard(tensor, generator)
        elif tensor.dtype in (torch.float16, torch.bfloat16):
            wide = torch.empty_like(tensor, dtype=torch.float32)
            self.fill(wide, generator)
            tensor.copy_(wide)
        else:
            self.fill(tensor, generator)
        return tensor

    def _draw_shard(self, tensor: Any, generator: torch.Generator | None) -> None:
        full = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        with random_state_of_first_process(tensor.device_mesh, tensor.device, generator):
            self(full, generator)
        local_shard(tensor).copy_(shard_of(full, tensor))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"
