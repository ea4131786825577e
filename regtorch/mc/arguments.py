"""Checks of arguments: a wrong one is reported in one line, before anything fails on it."""

from __future__ import annotations

from typing import Any

from regtorch.errors import SettingError
from regtorch.mc.prediction import MCPrediction


def check_is_prediction(value: Any, name: str = "prediction") -> None:
    """Raise unless a value is what a predictor gives.

    Raises:
        SettingError: it is not.
    """
    if not isinstance(value, MCPrediction):
        raise SettingError(
            f"{name} is {_one(value)} and must be an MCPrediction, what an MCPredictor gives for a batch"
        )


def _one(value: Any) -> str:
    name = value.__name__ if isinstance(value, type) else type(value).__name__
    kind = f"class {name}" if isinstance(value, type) else name
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
