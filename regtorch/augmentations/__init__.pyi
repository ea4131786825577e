"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.augmentations.base import Augmentation
from regtorch.augmentations.crop import Crop
from regtorch.augmentations.cutout import Cutout
from regtorch.augmentations.flip import Flip
from regtorch.augmentations.none import NoAugmentation
from regtorch.augmentations.several import SeveralAugmentations
from regtorch.augmentations.standard import CropAndFlip

__all__ = ["Augmentation", "Crop", "CropAndFlip", "Cutout", "Flip", "NoAugmentation", "SeveralAugmentations"]
