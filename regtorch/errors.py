"""What regtorch raises for a user's mistake: one line that names the key, the value and what would be right."""

from regtorch.printable import printable


class RegtorchError(Exception):
    """A mistake of the caller's; the command line prints its one line and exits with a status that is not 0."""


class SettingError(RegtorchError, ValueError):
    """A setting that does not exist, or whose value is outside its range."""


class NamingError(SettingError, TypeError):
    """An argument given in a way that does not say what it means, such as a probability by position."""


class UnknownNameError(RegtorchError, LookupError):
    """A name that nothing is registered under."""


class NameTakenError(RegtorchError, ValueError):
    """A name that another component has already."""


class ContractError(RegtorchError, TypeError):
    """A component that is not what its kind is used as."""


class NothingBoundError(RegtorchError, ValueError):
    """A rule that no parameter of the model is bound to."""


class DataError(RegtorchError, ValueError):
    """Data that is missing, unreadable or not what it must be."""


class KerasFileError(RegtorchError, ValueError):
    """A ``.keras`` file that is damaged, or that holds what cannot be read here."""


def as_one_line(error: BaseException) -> str:
    """An error in one line of printable characters: of ours what it says, of others the name of its type, too.

    Example:
        >>> as_one_line(KeyError("a")), as_one_line(SettingError("a=1 is not allowed"))
        ("KeyError: 'a'", 'a=1 is not allowed')
    """
    text = printable(error)
    return text if isinstance(error, RegtorchError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
