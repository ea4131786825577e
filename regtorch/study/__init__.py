"""Reads finished runs: curves and comparisons. Needs no torch."""
