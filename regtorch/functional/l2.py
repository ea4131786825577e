"""The ridge penalty."""

from torch import Tensor

from regtorch.functional.l1_l2 import l1_l2


def l2(*weights: Tensor, l2: float) -> Tensor:
    """Sum of squares: ``l2 * sum w^2``, without a factor 1/2, as in Keras.

    Torch's coupled ``weight_decay=d`` equals ``l2=d/2``.

    Args:
        *weights: tensors of any shape.
        l2: strength.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.

    Example:
        >>> import torch
        >>> l2(torch.tensor([1.0, -2.0, 0.0]), l2=0.1)
        tensor(0.5000)
    """
    return l1_l2(*weights, l1=0.0, l2=l2)
