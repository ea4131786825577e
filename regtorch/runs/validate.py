"""Check a run before it starts: its configuration, the checkpoint that it starts from, and its data; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regtorch.config.compose import compose
from regtorch.config.validate import validate
from regtorch.runs.data import check_data
from regtorch.runs.initial_checkpoint import check_checkpoint


def validate_run(config: Mapping[str, Any]) -> None:
    """Check a configuration of `train.py`, its checkpoint and its data.

    Args:
        config: as plain containers.

    Raises:
        RegtorchError: the first error, in one line.
    """
    validate(config)
    check_checkpoint(config)
    check_data(config)


def checked(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose and check the configuration of these overrides.

    Raises:
        RegtorchError: the first error.
    """
    config = compose(overrides)
    validate_run(config)
    return config
