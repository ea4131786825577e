"""Dropouts: modules that add noise while training, and what replaces torch's own by them."""
