"""What stops a training."""

from regtorch.errors import RegtorchError


class NonFiniteLossError(RegtorchError, ArithmeticError):
    """A loss that is NaN or infinite: names the step and the last finite values."""
