"""Parsing of ``where=``; needs no torch."""

from __future__ import annotations

from fnmatch import fnmatchcase

from regtorch.errors import SettingError

KINDS = ("kernel", "bias", "all")

#: key of the configuration -> the default `where` of its rule
OF_PLACE = {"regularizer": "kernel", "bias_regularizer": "bias", "constraint": "kernel", "bias_constraint": "bias"}


def split_where(where: str) -> tuple[str, str]:
    """Split into a kind and a glob: ``"kernel:hidden.*"`` -> ("kernel", "hidden.*"), ``"bias"`` -> ("bias", "*").

    Raises:
        SettingError: it is neither a kind, nor a glob, nor ``kind:glob``.

    Example:
        >>> split_where("head.*")
        ('all', 'head.*')
    """
    kind, colon, pattern = where.partition(":") if isinstance(where, str) else ("", ":", "")
    if kind in KINDS and (pattern or not colon):
        return kind, pattern or "*"
    if colon or not kind:
        raise SettingError(
            f"where={where} is not allowed: it must be {', '.join(KINDS)}, a glob over names, or kind:glob"
        )
    return "all", where


def matches(where: str, name: str, kernel: bool, bias: bool) -> bool:
    """Whether `where` selects the parameter of this name.

    Args:
        where: a kind, a glob or both.
        name: the parameter's full name.
        kernel: whether it is a kernel.
        bias: whether it is a bias.

    Example:
        >>> matches("kernel:hidden.*", "hidden.0.linear.weight", kernel=True, bias=False)
        True
    """
    kind, pattern = split_where(where)
    return {"kernel": kernel, "bias": bias, "all": True}[kind] and fnmatchcase(name, pattern)
