"""Initializers: they fill a weight in place, each with its settings."""
