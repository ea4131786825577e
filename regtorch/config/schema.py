"""The schema of a run's configuration outside its components: a dataclass for each node, with the range of each key.

A field without a default is a key that every configuration must have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from regtorch.settings import COUNT, FRACTION_BELOW_ONE, NON_NEGATIVE, POSITIVE, SEED, SWITCH, Range, one_of

_COUNT_OR_NULL = Range("an integer >= 1, or null", lambda v: v is None or COUNT.holds(v))
_POSITIVE_OR_NULL = Range("a finite number > 0, or null", lambda v: v is None or POSITIVE.holds(v))
_FRACTION_OR_NULL = Range("a number from 0 to below 1, or null", lambda v: v is None or FRACTION_BELOW_ONE.holds(v))
_STEPS = Range("an integer >= 1, or -1 for all", lambda v: COUNT.holds(v) or (v == -1 and v is not True))
_DEVICES = Range(
    "an integer >= 1, -1 or auto for all, or launched",
    lambda v: COUNT.holds(v) or v in (-1, "auto", "launched"),
)
_ACCELERATOR = one_of("auto", "cpu", "gpu", "cuda", *(["mps"] if sys.platform == "darwin" else []))
_PRECISION = one_of("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", 16, 32, 64)


@dataclass(frozen=True)
class Trainer:
    """Settings of Lightning's Trainer. It takes those in `PASSED_TO_LIGHTNING` too, and checks their values itself."""

    accelerator: Annotated[str, _ACCELERATOR]
    devices: Annotated[int | str, _DEVICES]
    precision: Annotated[str | int, _PRECISION]
    max_epochs: Annotated[int, COUNT]
    strategy: Annotated[str, one_of("auto", "ddp", "fsdp")] = "auto"
    max_steps: Annotated[int, _STEPS] = -1
    accumulate_grad_batches: Annotated[int, COUNT] = 1
    gradient_clip_val: Annotated[float | None, _POSITIVE_OR_NULL] = None
    gradient_clip_algorithm: Annotated[str, one_of("norm", "value")] = "norm"


#: arguments of Lightning's Trainer that are passed on; a test compares them with its signature
PASSED_TO_LIGHTNING = (
    "barebones", "benchmark", "check_val_every_n_epoch", "detect_anomaly", "deterministic", "enable_autolog_hparams",
    "fast_dev_run", "inference_mode", "limit_predict_batches", "limit_test_batches", "limit_train_batches",
    "log_every_n_steps", "max_time", "min_epochs", "min_steps", "model_registry", "overfit_batches", "profiler",
    "reload_dataloaders_every_n_epochs", "sync_batchnorm", "val_check_interval",
)  # fmt: skip
#: arguments of Lightning's Trainer that regtorch sets itself
SET_BY_REGTORCH = (
    "callbacks", "default_root_dir", "enable_checkpointing", "enable_model_summary", "enable_progress_bar", "limit_val_batches",
    "logger", "num_nodes", "num_sanity_val_steps", "plugins", "use_distributed_sampler",
)  # fmt: skip


@dataclass(frozen=True)
class Callbacks:
    """Early stopping, the monitored value, and averaging of the weights."""

    patience: Annotated[int | None, _COUNT_OR_NULL]
    monitor: Annotated[str, one_of("val_loss", "val_accuracy")]
    min_delta: Annotated[float, NON_NEGATIVE]
    ema_decay: Annotated[float | None, _FRACTION_OR_NULL]


@dataclass(frozen=True)
class Checkpoint:
    """When checkpoints are written in addition to the end of each epoch."""

    every_n_steps: Annotated[int | None, _COUNT_OR_NULL]
    every_seconds: Annotated[float | None, _POSITIVE_OR_NULL]
    seconds_to_stop: Annotated[float, POSITIVE] = 20.0


@dataclass(frozen=True)
class Logger:
    """Which log files are written."""

    csv: Annotated[bool, SWITCH]
    tensorboard: Annotated[bool, SWITCH]


@dataclass(frozen=True)
class MC:
    """Monte Carlo prediction of the test part; `samples` and `tolerance` are required unless its name is ``none``."""

    name: Annotated[str, one_of("standard", "none")]
    samples: Annotated[int, COUNT] = 100
    tolerance: Annotated[float | None, _POSITIVE_OR_NULL] = None


@dataclass(frozen=True)
class Run:
    """The keys of a run outside its components."""

    trainer: Trainer
    callbacks: Callbacks
    checkpoint: Checkpoint
    logger: Logger
    mc: MC
    seed: Annotated[int, SEED]
    evaluate: Annotated[str, one_of("best", "last")]
    compile: Annotated[bool, SWITCH]
    ckpt_path: str | None
    resume: str | None
    hparams_search: Mapping[str, Any] | None = None


#: place of a component in the configuration -> its kind
PLACES = {
    "data": "data",
    "model": "model",
    "activation": "activation",
    "initializer": "initializer",
    "head_initializer": "initializer",
    "regularizer": "regularizer",
    "bias_regularizer": "regularizer",
    "activity_regularizer": "regularizer",
    "penalty_schedule": "schedule",
    "dropout": "dropout",
    "input_dropout": "dropout",
    "dropout_schedule": "schedule",
    "constraint": "constraint",
    "bias_constraint": "constraint",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "augmentation": "augmentation",
}

#: all keys of a configuration outside components
OTHER_KEYS = tuple(field.name for field in fields(Run))


@cache
def nodes() -> dict[str, type]:
    """Key -> dataclass of each node."""
    hints = get_type_hints(Run)
    return {key: hints[key] for key in OTHER_KEYS if is_dataclass(hints[key])}


def required(schema: type) -> list[str]:
    """The fields without a default."""
    return [field.name for field in fields(schema) if field.default is MISSING]


@cache
def ranges() -> dict[str, Range]:
    """Key, such as ``trainer.max_epochs`` -> its range."""
    return dict(_ranges(Run, ""))


def _ranges(schema: type, prefix: str) -> Iterator[tuple[str, Range]]:
    for name, hint in get_type_hints(schema, include_extras=True).items():
        if is_dataclass(hint):
            yield from _ranges(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        for extra in getattr(hint, "__metadata__", ()):
            yield f"{prefix}{name}", extra
