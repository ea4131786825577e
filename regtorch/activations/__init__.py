"""Activations: torch's own modules, with their settings, under the names configurations use."""
