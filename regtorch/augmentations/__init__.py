"""Augmentations: random changes of batches of training images, drawn separately for each image."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("augmentations"),
        "Augmentation": "regtorch.augmentations.base",
    },
)
