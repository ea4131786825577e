"""No dropout."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from regtorch.dropout.base import Noise
from regtorch.errors import SettingError
from regtorch.registry import register


@register("dropout", "none")
class NoDropout(Noise):
    """Returns its input unchanged.

    Args:
        drop_prob: None; accepted so that a configuration with both keys can be built.
        keep_prob: None.

    Raises:
        SettingError: a probability is given.

    Example:
        >>> import torch
        >>> NoDropout()(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, *args: NoReturn, drop_prob: None = None, keep_prob: None = None, **unknown: NoReturn) -> None:
        super().__init__()
        self.refuse(args, unknown)
        for key, value in {"drop_prob": drop_prob, "keep_prob": keep_prob}.items():
            if value is not None:
                raise SettingError(f"{key}={value}: dropout=none has no probability; use dropout=standard")

    def settings(self) -> dict[str, object]:
        """No settings."""
        return {}

    def extra_repr(self) -> str:
        """Empty."""
        return ""

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
