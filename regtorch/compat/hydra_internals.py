"""Private parts of Hydra: the parser of its flags, and the callbacks of a launcher. Imports Hydra when called."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any


def flags_parser() -> ArgumentParser:
    """The parser of Hydra's own flags."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def launcher_callbacks(config: Any) -> Any:
    """The callbacks of a multirun's configuration; ``callbacks`` of the result is a list that may be extended."""
    from hydra._internal.callbacks import Callbacks

    return Callbacks(config)
