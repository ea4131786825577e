"""Exceptions for user errors: one line that names the key, the value and the remedy."""

from regtorch.printable import printable


class RegtorchError(Exception):
    """A user error; the command line prints its message as one line and exits with a nonzero status."""


class SettingError(RegtorchError, ValueError):
    """A setting that does not exist, or whose value is outside its range."""


class NamingError(SettingError, TypeError):
    """An argument whose meaning is unclear, such as a probability given by position."""


class UnknownNameError(RegtorchError, LookupError):
    """A name under which nothing is registered."""


class NameTakenError(RegtorchError, ValueError):
    """A name that another component already uses."""


class ContractError(RegtorchError, TypeError):
    """A component that does not meet the requirements of its kind."""


class NothingBoundError(RegtorchError, ValueError):
    """A rule that matches no parameter of the model."""


class DataError(RegtorchError, ValueError):
    """Data that is missing, unreadable or invalid."""


class KerasFileError(RegtorchError, ValueError):
    """A ``.keras`` file that is damaged, or that contains something unsupported."""


def as_one_line(error: BaseException) -> str:
    """Format an error as one line of printable characters; for errors of other libraries the type comes first.

    Example:
        >>> as_one_line(KeyError("a")), as_one_line(SettingError("a=1 is not allowed"))
        ("KeyError: 'a'", 'a=1 is not allowed')
    """
    text = printable(error)
    return text if isinstance(error, RegtorchError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
