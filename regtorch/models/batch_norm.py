"""Batch normalization with Keras' conventions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _KerasStatistics(nn.modules.batchnorm._BatchNorm):
    """Tracks the biased batch variance; torch tracks the unbiased one."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize with batch statistics in training, with moving statistics in evaluation."""
        if not self.training or self.running_mean is None or self.running_var is None or self.momentum is None:
            return super().forward(x)
        self._check_input_dim(x)
        # torch's kernel writes to copies, as autograd detects changes of saved tensors
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        enabled = torch.backends.cudnn.enabled
        result = torch.batch_norm(x, self.weight, self.bias, mean, variance, True, self.momentum, self.eps, enabled)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            kept = (1 - self.momentum) * self.running_var
            self.running_mean.copy_(mean)
            self.running_var.copy_((variance - kept) * ((count - 1) / count) + kept if count > 1 else kept)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        return result


class BatchNorm1d(_KerasStatistics, nn.BatchNorm1d):
    """Over (batch, features) or (batch, channels, length)."""


class BatchNorm2d(_KerasStatistics, nn.BatchNorm2d):
    """Over (batch, channels, height, width)."""


class BatchNorm3d(_KerasStatistics, nn.BatchNorm3d):
    """Over (batch, channels, depth, height, width)."""


def batch_norm(units: int, spatial_dims: int, momentum: float = 0.99, epsilon: float = 1e-3) -> nn.Module:
    """Batch normalization with Keras' conventions and defaults.

    ``y = gamma * (x - mean) / sqrt(var + epsilon) + beta``; the moving statistics follow
    ``moving = momentum * moving + (1 - momentum) * batch``, with the biased batch variance.

    Args:
        units: features or channels.
        spatial_dims: 0 for (batch, features), 1 to 3 for (batch, channels, *sizes).
        momentum: fraction of the moving statistics kept at each step (torch's momentum is 1 minus this).
        epsilon: added to the variance.

    Source: Ioffe and Szegedy, "Batch normalization", 2015; Keras' ``BatchNormalization``.

    Example:
        >>> batch_norm(3, spatial_dims=0).momentum
        0.01
    """
    kind = (BatchNorm1d, BatchNorm1d, BatchNorm2d, BatchNorm3d)[spatial_dims]
    return kind(units, eps=epsilon, momentum=round(1 - momentum, 12))
