"""Check a complete configuration before importing anything heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.config.combinations import check_combinations
from regtorch.config.components import check_components
from regtorch.config.devices import check_devices
from regtorch.config.keys import check_known, check_ranges, check_required
from regtorch.config.resources import check_workers
from regtorch.config.search_space import check_settings


def validate(config: Mapping[str, Any]) -> None:
    """Check a configuration of `train.py`: names, keys, ranges, places of rules, devices.

    Args:
        config: as plain containers.

    Raises:
        RegtorchError: the first error, in one line.
    """
    check_required(config)
    check_known(config)
    check_ranges(config)
    check_components(config)
    check_devices(config["trainer"])
    check_workers(config["data"])
    if "hparams_search" in config:
        check_settings(config["hparams_search"])
    check_combinations(config)
