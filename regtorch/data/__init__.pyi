"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.data.arrays import Arrays
from regtorch.data.base import ArrayDataSet, DataSet, Split, Splits
from regtorch.data.cifar10 import CIFAR10
from regtorch.data.digits import Digits
from regtorch.data.fashion_mnist import FashionMNIST
from regtorch.data.image_folder import ImageFolder
from regtorch.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "ArrayDataSet",
    "Arrays",
    "DataSet",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "Split",
    "Splits",
    "Synthetic",
]
