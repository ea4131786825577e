"""Load Keras models from ``.keras`` files into torch, continue training, and save them back."""

from regtorch.keras.from_keras_file import from_keras
from regtorch.keras.port import KerasPort

__all__ = ["KerasPort", "from_keras"]
