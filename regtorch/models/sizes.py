"""Sizes inside a convolutional network; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from regtorch.errors import SettingError


def check_image(shape: Sequence[int], channels: Sequence[int], pooling: str) -> tuple[int, int]:
    """Height and width behind the last convolution.

    Raises:
        SettingError: the examples are no images, or pooling leaves nothing of them.

    Example:
        >>> check_image((3, 32, 32), [32, 64, 128], "max")
        (8, 8)
    """
    if len(shape) != 3:
        raise SettingError(
            f"model=cnn needs images (channels, height, width), not rows of shape {tuple(shape)}; take model=mlp"
        )
    halvings = len(channels) - 1 if pooling != "none" else 0
    height, width = shape[1] >> halvings, shape[2] >> halvings
    if min(height, width) < 1:
        raise SettingError(
            f"model.channels={list(channels)} is not allowed: {halvings} poolings leave nothing of {shape[1]}x{shape[2]} pixels"
        )
    return height, width
