"""Load Keras models from ``.keras`` files into torch, continue training, and save them back."""

from regtorch.keras.port import KerasPort
from regtorch.keras.reading import from_keras

__all__ = ["KerasPort", "from_keras"]
