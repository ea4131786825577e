"""Augmentations: random changes of entire batches of training images, drawn for each image anew."""

from regtorch.lazy_package import make_lazy as _make_lazy
from regtorch.registry import homes as _homes

_make_lazy(
    __name__,
    {
        **_homes("augmentations"),
        "Augmentation": "regtorch.augmentations.base",
    },
)
