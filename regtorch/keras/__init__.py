"""Keras models in torch: read from ``.keras`` files, trained further, written back."""

from regtorch.keras.port import KerasPort
from regtorch.keras.reading import from_keras

__all__ = ["KerasPort", "from_keras"]
