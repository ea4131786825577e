"""Optimizers: torch's own, with settings under Keras' names, and by default the steps that Keras takes."""
