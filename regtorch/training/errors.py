"""Errors that stop a training."""

from regtorch.errors import RegtorchError


class NonFiniteLossError(RegtorchError, ArithmeticError):
    """The loss is NaN or infinite; the message names the step and the last finite values."""
