"""Composition and validation of a configuration. Imports no torch."""

__all__: list[str] = []  # for the other packages only
