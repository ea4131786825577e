"""Check a complete configuration, including its data, before importing anything heavy."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regtorch import settings
from regtorch.cli.checkpoint import read_plain_content
from regtorch.cli.complete_checkpoint import check_complete
from regtorch.cli.mistyped import key_for, options_for
from regtorch.cli.plugin_options import check_own, plugin_nodes
from regtorch.cli.python_only import python_only
from regtorch.cli.required import check_required
from regtorch.cli.resources import check_network_memory, check_workers
from regtorch.cli.resume import check_best, check_ckpt_path, check_processes, check_resume, described, process_count
from regtorch.cli.same_data import check_same_data
from regtorch.cli.search_plan import check_settings
from regtorch.contracts import CONTRACTS, accepted_names, stand_ins
from regtorch.errors import DataError, NothingBoundError, RegtorchError, SettingError, as_one_line
from regtorch.launcher import started_as
from regtorch.memory import check_memory, rows_demand
from regtorch.models.names import layer_names, parameter_names
from regtorch.models.sizes import check_image
from regtorch.open_files import check_open_files
from regtorch.registry import component, create, near
from regtorch.settings import COUNT, FRACTION_BELOW_ONE, NON_NEGATIVE, POSITIVE, SEED, SWITCH, Range, one_of
from regtorch.where import OF_PLACE, matches, split_where

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

#: place of a model's part -> its default component
_USUAL_PARTS = {
    "activation": "relu",
    "initializer": "glorot_uniform",
    "head_initializer": None,
    "dropout": "none",
    "input_dropout": "none",
}

#: places that may be null
_OPTIONAL = ("head_initializer",)

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


def validate(config: Mapping[str, Any]) -> None:
    """Check a configuration of `train.py`: names, keys, ranges, places of rules, data, devices, checkpoint.

    Args:
        config: as plain containers.

    Raises:
        RegtorchError: the first error, in one line.
    """
    for key, value in config.items():
        if key not in (*PLACES, *OTHER_KEYS):
            meant = key_for(key, str(value))
            known_keys = f"it must be one of {', '.join(sorted((*PLACES, *OTHER_KEYS)))}"
            instead = python_only(key) or (f"write {meant}" if meant else known_keys)
            raise SettingError(f"{key}={value}: there is no such key; {instead}")
    check_required(config)
    for place, known in _CLOSED.items():
        node: Any = config.get(place)
        if not isinstance(node, Mapping):
            raise SettingError(f"{place}={node} is not allowed: it must have the keys {', '.join(known)}")
        for key, value in node.items():
            if key not in known:
                raise SettingError(f"{place}.{key}={value}: there is no such key; it must be one of {', '.join(known)}")
    for key in _OURS:
        if key in config["trainer"]:
            raise SettingError(f"trainer.{key}={config['trainer'][key]} is not allowed: regtorch sets it itself")
    check_trainer_keys(config["trainer"])
    check_run_keys(config)
    check_components(config)
    if config["input_dropout"]["name"] == "drop_connect":
        raise SettingError(
            "input_dropout=drop_connect is not allowed: the input has no weights; take dropout=drop_connect"
        )
    if config["model"]["name"] == "cnn":
        on_maps = ["input_dropout", *(["dropout"] if config["model"].get("dropout_at") in ("conv", "both") else [])]
        for place in on_maps:
            if config[place]["name"] == "variational":
                raise SettingError(
                    f"{place}=variational is not allowed on feature maps: it is for sequences; take {place}=spatial2d"
                )
    check_devices(config["trainer"])
    check_workers(config["data"])
    if config["trainer"].get("strategy") == "fsdp" and config["callbacks"].get("ema_decay") is not None:
        raise SettingError(
            f"callbacks.ema_decay={config['callbacks']['ema_decay']} is not allowed with trainer.strategy=fsdp, "
            "whose weights are sharded; take trainer=ddp"
        )
    if "hparams_search" in config:
        check_settings(config["hparams_search"])
    if config["trainer"].get("strategy") == "fsdp" and config["compile"]:
        raise SettingError(
            "compile=true is not allowed with trainer.strategy=fsdp, whose gathering of weights cannot be compiled; "
            "take compile=false or trainer=ddp"
        )
    check_places(config)
    check_schedules(config)
    check_checkpoint(config)
    check_data(config)


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


def check_components(config: Mapping[str, Any]) -> None:
    """Check that each place has a registered component with valid settings."""
    for place, kind in PLACES.items():
        if config.get(place) is not None or place not in _OPTIONAL:
            check_node(place, kind, config.get(place))


def check_node(place: str, kind: str, node: Any) -> None:
    """Check the node of one component, and the nodes inside it."""
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        chooses = kind if place == kind else f"{kind}@{place}"
        option = options_for(chooses, str(node)) or f"{chooses}={node}"
        raise SettingError(
            f"{place}={node} is not allowed: it must be a node with a name; to choose an option, write {option}"
        )
    of_plugin = _of_plugin(kind, node["name"])
    known = _packaged(kind, node["name"])
    given = {key: value for key, value in node.items() if key != "name"}
    for key, value in given.items():
        if isinstance(value, str) and value == "???":
            raise SettingError(f"{place}.{key} is missing: {kind} {node['name']} needs it; write {place}.{key}=VALUE")
    if known is not None:
        for key, value in given.items():
            if key not in known and key != "where":
                if kind == "dropout" and key in ("p", "rate") and "drop_prob" in known:
                    raise SettingError(
                        f"{place}.{key}={value} is ambiguous: write {place}.drop_prob or {place}.keep_prob"
                    )
                raise SettingError(
                    f"{place}.{key}={value}: {kind} {node['name']} has no such setting; it has: {', '.join(known)}"
                )
            if value is None and known.get(key) is not None:
                raise SettingError(f"{place}.{key}=null is not allowed: it must have a value, e.g. {known[key]}")
    settings.check(f"{place}.", component=(kind, node["name"]), **{k: v for k, v in given.items() if v is not None})
    if of_plugin:
        check_own(kind, node["name"])
    if of_plugin and kind not in (
        "model",
        "data",
    ):  # its class checks its settings; model and data are tried together later
        with _in_one_line(kind, node["name"], "cannot be created", place):
            create(kind, **node, **stand_ins(kind))
    for key in ("drop_prob", "keep_prob"):
        if node["name"] == "none" and node.get(key) is not None:
            raise SettingError(
                f"{place}.{key}={node[key]} is not allowed with {place}=none, which drops nothing; take {place}=standard"
            )
    if kind == "dropout" and node.get("drop_prob") is not None and node.get("keep_prob") is not None:
        raise SettingError(
            f"{place}.drop_prob={node['drop_prob']} and {place}.keep_prob={node['keep_prob']} are both given: give one of them"
        )
    if (
        node.get("min_value") is not None
        and node.get("max_value") is not None
        and node["min_value"] > node["max_value"]
    ):
        raise SettingError(
            f"{place}.min_value={node['min_value']} is not allowed: it must be at most max_value={node['max_value']}"
        )
    if node.get("where") is not None:
        try:
            split_where(node["where"])
        except SettingError as error:
            raise SettingError(f"{place}.{error}") from error
    if node["name"] == "several":
        if not isinstance(node.get("rules"), (list, tuple)) or not node["rules"]:
            raise SettingError(
                f"{place}.rules={node.get('rules')} is not allowed: it must be a non-empty list of nodes"
            )
        for index, rule in enumerate(node["rules"]):
            check_node(f"{place}.rules[{index}]", kind, rule)
    if node["name"] == "activity":
        check_node(f"{place}.regularizer", "regularizer", node.get("regularizer"))


def _of_plugin(kind: str, name: str) -> bool:
    return not component(kind, name).module.startswith("regtorch.")


@contextmanager
def _in_one_line(kind: str, name: str, failure: str, place: str = "") -> Iterator[None]:
    """Convert exceptions of a plugin's component to one line that names its place."""
    try:
        yield
    except RegtorchError as error:
        if not place:
            raise
        raise SettingError(f"{place}: {error}") from error
    except Exception as error:
        if not _of_plugin(kind, name):
            raise
        raise SettingError(f"{place or kind}={name} {failure}: {as_one_line(error)}") from error


def _packaged(kind: str, name: str) -> dict[str, Any] | None:
    """Return the settings and defaults of a component from its YAML or a plugin's class; None if there are neither."""
    node = _of_file(kind, name) or plugin_nodes().get((kind, name))
    return None if node is None else {key: value for key, value in node.items() if key != "name"}


@cache
def _of_file(kind: str, name: str) -> dict[str, Any] | None:
    """Read a component's YAML; None if it has none."""
    import yaml

    import regtorch.conf

    path = Path(regtorch.conf.__file__).parent / kind / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def check_devices(trainer: Mapping[str, Any], prefix: str = "trainer.") -> None:
    """Refuse more devices than there are, as far as possible without torch; `prefix` precedes the keys in messages."""
    strategy, precision = trainer.get("strategy"), trainer.get("precision")
    if strategy == "fsdp" and precision in ("16-mixed", 16):
        raise SettingError(
            f"{prefix}precision={precision} is not allowed with {prefix}strategy=fsdp, which does not scale the loss; "
            "take bf16-mixed"
        )
    if trainer.get("devices") == "launched" and started_as() is None:
        raise SettingError(
            f"{prefix}devices=launched (trainer=multi_node) is allowed only in processes that torchrun or srun start: "
            "torchrun --nnodes=2 --nproc-per-node=4 ... scripts/train.py trainer=multi_node; on one machine take trainer=ddp"
        )
    if trainer.get("devices") == "launched":
        return
    if started_as() is not None:
        raise SettingError(
            f"{prefix}devices={trainer.get('devices', 1)} is not allowed in a process that torchrun or srun started; "
            "take trainer=multi_node, which uses all of their processes"
        )
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    cores = os.cpu_count() or 1
    if accelerator in ("gpu", "cuda") and not gpus():
        raise SettingError(
            f"{prefix}accelerator={accelerator} is not allowed: there is no GPU on this machine; "
            f"take {'trainer=cpu' if prefix else 'accelerator=cpu'}"
        )
    if not COUNT.holds(devices):
        if accelerator == "cpu" or (accelerator == "auto" and not gpus()):
            raise SettingError(f"{prefix}devices={devices} is not allowed on the CPU: it must be an integer >= 1")
        return
    if accelerator in ("gpu", "cuda") and gpus() and devices > gpus():
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {gpus()} GPUs")
    if (accelerator == "cpu" or (accelerator == "auto" and not gpus())) and devices > cores:
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {cores} CPU cores")
    if accelerator == "auto" and gpus() and devices > gpus():
        raise SettingError(f"{prefix}devices={devices} is not allowed: there are {gpus()} GPUs")


@cache
def gpus() -> int:
    """Return the number of GPUs for this process; imports torch only if a driver is loaded."""
    drivers = (Path("/proc/driver/nvidia/gpus"), Path("/dev/kfd"))
    if os.name == "posix" and Path("/proc").exists() and not any(path.exists() for path in drivers):
        return 0
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def check_places(config: Mapping[str, Any]) -> None:
    """Refuse a rule that matches no parameter of a built-in model."""
    if config["model"]["name"] not in ("mlp", "cnn"):
        return
    names = list(parameter_names(config["model"], activation=config["activation"], dropout=config["dropout"]))
    for place in ("regularizer", "bias_regularizer", "activity_regularizer", "constraint", "bias_constraint"):
        node = config[place]
        several = node["name"] == "several"
        for index, rule in enumerate(node["rules"] if several else [node]):
            key = f"{place}.rules[{index}]" if several else place
            where = rule.get("where") or OF_PLACE.get(place, "kernel")
            of_layers = place == "activity_regularizer" or rule["name"] == "activity"
            candidates = layer_names(names) if of_layers else names
            if rule["name"] != "none" and not any(matches(where, *found) for found in candidates):
                what = "layer" if of_layers else "parameter"
                raise NothingBoundError(
                    f"{key}.where={where} matches no {what} of the {config['model']['name']}; "
                    f"it has: {', '.join(name for name, *_ in candidates)}"
                )


def check_schedules(config: Mapping[str, Any]) -> None:
    """Refuse a schedule whose penalties or dropouts are all switched off."""
    of = {
        "penalty_schedule": ("regularizer", "bias_regularizer", "activity_regularizer"),
        "dropout_schedule": ("dropout", "input_dropout"),
    }
    for place, targets in of.items():
        name, built_in = config[place]["name"], config["model"]["name"] in ("mlp", "cnn")
        if name != "constant" and built_in and all(config[target]["name"] == "none" for target in targets):
            raise SettingError(
                f"schedule@{place}={name} is not allowed with {targets[0]}=none, which it would have no effect on; choose a "
                f"{targets[0]}, or take schedule@{place}=constant"
            )

    for key in ("start", "end"):
        if _packaged("schedule", config["dropout_schedule"]["name"]) is not None and key in config["dropout_schedule"]:
            for place in of["dropout_schedule"]:
                _check_scheduled_dropout(config, place, key)


def _check_scheduled_dropout(config: Mapping[str, Any], place: str, key: str) -> None:
    """Refuse a factor that would move a built-in dropout's probability out of its range."""
    node, factor = config[place], config["dropout_schedule"][key]
    if factor <= 1 or _packaged("dropout", node["name"]) is None or "drop_prob" not in node:
        return
    keep_prob, nominal = node.get("keep_prob"), node.get("drop_prob")
    if nominal is None and keep_prob is not None:
        nominal = 1 - keep_prob
    if nominal is None:
        nominal = component("dropout", node["name"]).load().default_drop_prob  # type: ignore[attr-defined]
    try:
        settings.check(component=("dropout", node["name"]), drop_prob=round(nominal * factor, 9))
    except SettingError as error:
        raise SettingError(
            f"dropout_schedule.{key}={factor:g} is not allowed with {place}.drop_prob={nominal:g}: their product, {error}"
        ) from error


def check_data(config: Mapping[str, Any]) -> None:
    """Read and check the data, and check that model and augmentation fit it."""
    with _in_one_line("data", config["data"]["name"], "cannot be read"):
        data = dataset(config)
        data.check()
        splits = data.load()
    check_network_memory(config, splits.shape, len(splits.classes), len(splits.train))
    check_same_data(config, data, checkpoint_path(config))
    check_open_files(data.workers)
    if _of_plugin("model", config["model"]["name"]):
        _check_model(config, splits.shape, len(splits.classes))
    if config["model"]["name"] == "cnn":
        check_image(splits.shape, config["model"]["channels"], config["model"]["pooling"])
    if config["scheduler"]["name"] == "plateau" and splits.val is None:
        raise SettingError(
            "scheduler=plateau is not allowed without a validation part, because it monitors the validation loss; "
            "give data.validation_fraction"
        )
    if config["augmentation"]["name"] != "none" and len(splits.shape) != 3:
        raise SettingError(
            f"augmentation={config['augmentation']['name']} is not allowed: it needs images, but data={config['data']['name']} "
            f"has rows of shape {splits.shape}; take augmentation=none"
        )


def _check_model(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> None:
    """Build a plugin's model, bind the rules to it and call it with two rows, because only the model knows its limits."""
    name = config["model"]["name"]
    offered = CONTRACTS["model"].offered
    takes = accepted_names(component("model", name).load(), offered)
    for place in offered:
        chosen = (config.get(place) or {}).get("name")
        if place not in takes and chosen != _USUAL_PARTS[place]:
            raise SettingError(
                f"{place}={chosen} is not allowed with model={name}, which has no argument {place}; omit it"
            )
    import torch

    from regtorch.training.run import make_module

    with _in_one_line("model", name, "cannot be used"), torch.random.fork_rng(devices=()), torch.no_grad():
        logits = make_module(config, shape, classes).model.eval()(torch.zeros(2, *shape))
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if found != (2, classes):
        raise SettingError(
            f"model={name} cannot be used: it returns {found} for two rows of {classes} classes; it must return logits of "
            f"shape (2, {classes})"
        )


_datasets: dict[str, Any] = {}


def dataset(config: Mapping[str, Any]) -> Any:
    """Return the data set of a configuration; the last one is cached, because checking it reads it."""
    key = repr(config["data"])
    if key not in _datasets:
        _datasets.clear()
        check_memory(rows_demand(config["data"]))
        _datasets[key] = create("data", **config["data"])
    return _datasets[key]


def checkpoint_path(config: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint to start from; None if there is none, or the resumed run was stopped before its first one."""
    if config.get("resume") is not None:
        folder = Path(str(config["resume"]))
        if config.get("ckpt_path") is not None:
            if (folder / "checkpoints" / "last.ckpt").exists() or not (folder / ".hydra" / "overrides.yaml").is_file():
                raise SettingError(
                    f"resume={config['resume']} and ckpt_path={config['ckpt_path']} are both given: give one of them"
                )
            return Path(
                str(config["ckpt_path"])
            )  # the initial checkpoint of a run that was stopped before its first own
        path = folder / "checkpoints" / "last.ckpt"
        return None if not path.exists() and (folder / ".hydra" / "overrides.yaml").is_file() else path
    return None if config.get("ckpt_path") is None else Path(str(config["ckpt_path"]))


def check_checkpoint(config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that is missing, unreadable, or of another model."""
    path = checkpoint_path(config)
    initial = config.get("ckpt_path")
    if config.get("resume") is not None:
        check_resume(config["resume"], None if initial is None else path)
    if initial is not None:
        check_ckpt_path(initial)
    if path is None:
        return
    key = "ckpt_path" if initial is not None else "resume"
    trained = described(key, config[key], path)
    check_complete(f"{key}={config[key]}", read_plain_content(path))
    if config.get("resume") is not None:
        check_best(config["resume"], config["evaluate"])
    for place in ("model", "activation", "dropout", "input_dropout", "optimizer", "data"):
        here, there = config[place], trained.get(place)
        if not isinstance(there, Mapping):
            raise DataError(f"{key}={config[key]} is not a checkpoint of a regtorch run")
        compared = {
            "model": {*here, *there},
            "data": {*here, *there} - {"batch_size", "workers", "reshuffle", "path", "changed"},
        }.get(place, {"name"})
        for name in sorted(compared):
            same_weights = place == "dropout" and "drop_connect" not in (here[name], there[name])
            if here.get(name) != there.get(name) and not same_weights:
                raise DataError(
                    f"{key}={config[key]} is of another run: it has {place}.{name}={there.get(name)}, this one has {here.get(name)}"
                )
    done, wanted = trained.get("epochs", 0), config["trainer"]["max_epochs"]
    if done > wanted or (done == wanted and key == "ckpt_path"):
        raise DataError(
            f"{key}={config[key]} has trained {done} epochs already: trainer.max_epochs={wanted} must be more"
        )
    if trained.get("batches"):
        order = {"seed": "seed", "batch_size": "data.batch_size", "reshuffle": "data.reshuffle"}
        here = {**config["data"], "seed": config["seed"]}
        there = {**trained["data"], "seed": trained.get("seed", config["seed"])}
        for name, setting in order.items():
            if name in there and here.get(name) != there[name]:
                raise DataError(
                    f"{key}={config[key]} was stopped in the middle of an epoch with {setting}={there[name]}, so "
                    f"{setting}={here.get(name)} is not allowed before its end"
                )
        trainer = config["trainer"]
        count = process_count(trainer, gpus() if trainer.get("devices") in (-1, "auto") else 0)
        check_processes(key, config[key], len(trained.get("ranks", ())), trainer.get("devices", 1), count)
