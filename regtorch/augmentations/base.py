"""The base of all augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch import settings
from regtorch.errors import SettingError
from regtorch.registry.configurable import Configurable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Augmentation(Configurable):
    """A random change of a batch of images (N, C, H, W); random numbers are drawn separately for each image.

    The transforms of `torchvision.transforms.v2` draw once per batch; these draw once per image.
    Subclass it and write `augment`. Needs no torch before the first call.

    Raises:
        SettingError: a setting outside its range.
    """

    def __post_init__(self) -> None:
        settings.check("augmentation.", **self.settings())

    def __call__(self, x: Tensor) -> Tensor:
        """The augmented batch, of the same shape and type; `x` itself is not changed.

        Raises:
            SettingError: the batch is not (N, C, H, W).
        """
        self.check_shape(x.shape[1:])
        return self.augment(x)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise a `SettingError` unless rows of this shape, such as a data set's `shape`, can be augmented."""
        if len(shape) != 3:
            name = (self.registered_as or ("", type(self).__name__))[1]
            raise SettingError(
                f"augmentation={name} needs images (channels, height, width), but "
                f"the data's rows have shape {tuple(shape)}; use augmentation=none"
            )

    def augment(self, x: Tensor) -> Tensor:
        """The augmented batch (N, C, H, W)."""
        raise TypeError(f"{type(self).__qualname__} must define augment(x)")
