"""The lasso penalty."""

from torch import Tensor

from regtorch.functional.l1_l2 import l1_l2


def l1(*weights: Tensor, l1: float) -> Tensor:
    """Sum of absolute values: ``l1 * sum|w|``.

    Drives weights towards zero with a gradient that does not shrink with them; for exact zeros use the
    `SoftThreshold` constraint. The subgradient at 0 is 0.

    Args:
        *weights: tensors of any shape.
        l1: strength.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", 1996.

    Example:
        >>> import torch
        >>> l1(torch.tensor([1.0, -2.0, 0.0]), l1=0.1)
        tensor(0.3000)
    """
    return l1_l2(*weights, l1=l1, l2=0.0)
