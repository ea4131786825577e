"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.models.cnn import CNN
from regtorch.models.mlp import MLP

__all__ = ["CNN", "MLP"]
