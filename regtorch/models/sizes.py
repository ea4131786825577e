"""Sizes inside a convolutional network; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from regtorch.errors import SettingError


def check_image(shape: Sequence[int], channels: Sequence[int], pooling: str) -> tuple[int, int]:
    """Height and width after the last convolution.

    Raises:
        SettingError: the examples are not images, or they are too small for the pooling.

    Example:
        >>> check_image((3, 32, 32), [32, 64, 128], "max")
        (8, 8)
    """
    if len(shape) != 3:
        raise SettingError(
            f"model=cnn needs images (channels, height, width), not rows of shape {tuple(shape)}; use model=mlp"
        )
    halvings = len(channels) - 1 if pooling != "none" else 0
    height, width = shape[1] >> halvings, shape[2] >> halvings
    if min(height, width) < 1:
        raise SettingError(
            f"model.channels={list(channels)} is not allowed: {shape[1]}x{shape[2]} pixels are too few for {halvings} poolings"
        )
    return height, width
