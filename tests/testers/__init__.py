"""Shared testers: all components of a kind run the same tests."""
