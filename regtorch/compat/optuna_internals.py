"""The private identifier of an Optuna trial, from which another process continues it."""

from __future__ import annotations

from typing import Any


def continued_trial(study: Any, kept: Any) -> Any:
    """The trial that another process has started, given its record."""
    import optuna

    return optuna.trial.Trial(study, kept._trial_id)
