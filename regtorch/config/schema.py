"""Keys of a configuration outside components, with their ranges."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError
from regtorch.registry import near
from regtorch.settings import COUNT, FRACTION_BELOW_ONE, NON_NEGATIVE, POSITIVE, SEED, SWITCH, Range, one_of

OTHER_KEYS = (
    "callbacks", "checkpoint", "logger", "trainer", "mc", "seed", "evaluate", "compile", "ckpt_path", "resume",
    "hparams_search",
)  # fmt: skip

_RUN_KEYS: dict[str, Range] = {
    "seed": SEED,
    "evaluate": one_of("best", "last"),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", *(["mps"] if sys.platform == "darwin" else [])),
    "compile": SWITCH,
    "checkpoint.every_n_steps": Range("an integer >= 1, or null", lambda v: v is None or COUNT.holds(v)),
    "checkpoint.every_seconds": Range("a finite number > 0, or null", lambda v: v is None or POSITIVE.holds(v)),
    "checkpoint.seconds_to_stop": POSITIVE,
    "trainer.devices": Range(
        "an integer >= 1, -1 or auto for all, or launched",
        lambda v: COUNT.holds(v) or v in (-1, "auto", "launched"),
    ),
    "trainer.strategy": one_of("auto", "ddp", "fsdp"),
    "trainer.precision": one_of("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", 16, 32, 64),
    "trainer.max_epochs": COUNT,
    "trainer.max_steps": Range(
        "an integer >= 1, or -1 for all", lambda v: COUNT.holds(v) or (v == -1 and v is not True)
    ),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": Range("a finite number > 0, or null", lambda v: v is None or POSITIVE.holds(v)),
    "trainer.gradient_clip_algorithm": one_of("norm", "value"),
    "callbacks.patience": Range("an integer >= 1, or null", lambda v: v is None or COUNT.holds(v)),
    "callbacks.monitor": one_of("val_loss", "val_accuracy"),
    "callbacks.min_delta": NON_NEGATIVE,
    "callbacks.ema_decay": Range(
        "a number from 0 to below 1, or null", lambda v: v is None or FRACTION_BELOW_ONE.holds(v)
    ),
    "logger.csv": SWITCH,
    "logger.tensorboard": SWITCH,
    "mc.name": one_of("standard", "none"),
    "mc.samples": COUNT,
    "mc.tolerance": Range("a finite number > 0, or null", lambda v: v is None or POSITIVE.holds(v)),
}

#: nodes -> all their keys
_CLOSED = {
    "checkpoint": ("every_n_steps", "every_seconds", "seconds_to_stop"),
    "callbacks": ("patience", "monitor", "min_delta", "ema_decay"),
    "logger": ("csv", "tensorboard"),
    "mc": ("name", "samples", "tolerance"),
}

#: arguments of Lightning's Trainer that regtorch sets itself
_OURS = (
    "callbacks", "default_root_dir", "enable_checkpointing", "enable_model_summary", "enable_progress_bar", "limit_val_batches",
    "logger", "num_nodes", "num_sanity_val_steps", "plugins", "use_distributed_sampler",
)  # fmt: skip


def check_run_keys(config: Mapping[str, Any]) -> None:
    """Check the ranges of all settings outside components."""
    for key, allowed in _RUN_KEYS.items():
        node: Any = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node.get(parent, {})
        if last in node:
            if isinstance(node[last], str) and re.fullmatch(r"\d+ *(-|:|\.\.+) *\d+", node[last]):
                raise SettingError(
                    f"{key}={node[last]} is not allowed: it must be {allowed.words}; for a grid: -m '{key}=range(1,6)'"
                )
            allowed.check(key, node[last])


def check_trainer_keys(trainer: Mapping[str, Any]) -> None:
    """Refuse keys that Lightning's Trainer does not have; its source is parsed, because importing it takes seconds."""
    if all(f"trainer.{key}" in _RUN_KEYS for key in trainer):
        return
    spec = find_spec("lightning")
    if spec is None or spec.origin is None:
        return
    source = Path(spec.origin).parent / "pytorch" / "trainer" / "trainer.py"
    classes = [n for n in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)]
    body = next(c for c in classes if c.name == "Trainer").body
    init = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    known = {argument.arg for argument in (*init.args.args, *init.args.kwonlyargs)} - {"self", *_OURS}
    for key, value in trainer.items():
        if key not in known:
            raise SettingError(f"trainer.{key}={value}: Lightning's Trainer has no such setting{near(key, known)}")
