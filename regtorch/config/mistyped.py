"""Suggest the intended key for an unknown one: by another tool's name for it, by its last part, or by its spelling."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import regtorch.conf
from regtorch.config.plugin_options import plugin_nodes

_CONF = Path(regtorch.conf.__file__).parent
_CLOSE = 0.75  # minimum similarity of two words, from 0 to 1

#: key -> its names in Keras, scikit-learn, Lightning, timm and transformers, and common misspellings
_OTHER_NAMES = {
    "optimizer.lr": "learning_rate lrate base_lr initial_lr learning_rate_init eta",
    "trainer.max_epochs": "epochs epoch n_epochs num_epochs num_train_epochs nb_epoch n_epoch max_iter",
    "trainer.max_steps": "steps num_steps n_steps iterations max_iterations total_steps",
    "trainer.devices": "gpus gpu n_gpus num_gpus ngpu num_devices n_devices num_processes nproc_per_node world_size",
    "trainer.accelerator": "device cuda use_cuda no_cuda",
    "trainer.precision": "amp fp16 bf16 half mixed_precision dtype float16 bfloat16",
    "trainer.gradient_clip_val": "clip clipnorm clip_norm clip_grad grad_clip max_grad_norm gradient_clipping gradient_clip clipvalue",
    "trainer.accumulate_grad_batches": "gradient_accumulation_steps gradient_accumulation accumulation_steps accum grad_accum_steps",
    "data.batch_size": "bs batch batchsize train_batch_size per_device_train_batch_size minibatch_size mini_batch_size",
    "data.workers": "num_workers n_workers n_jobs",
    "data.validation_fraction": "val_split validation_split val_fraction val_size validation_size valid_fraction val_frac",
    "data.test_fraction": "test_size test_split",
    "data.path": "data_dir data_path dataset_path datadir root train_data file",
    "data.standardize": "normalize normalise standardise scale scaling",
    "data": "dataset datamodule",
    "model": "net network arch architecture backbone",
    "model.hidden": "hidden_units hidden_size hidden_sizes hidden_layer_sizes hidden_layers hidden_dim units layers width depth",
    "model.channels": "filters conv_channels",
    "model.batch_norm": "bn batchnorm batch_normalization",
    "activation": "nonlinearity act activation_function act_fn",
    "optimizer": "optim opt solver",
    "optimizer.weight_decay": "wd decay_weight decoupled_weight_decay",
    "scheduler": "lr_scheduler lr_schedule lr_scheduler_type sched",
    "regularizer": "kernel_regularizer weight_regularizer regularization regularisation penalty reg",
    "regularizer.l2": "l2_reg l2_penalty lambda_l2 reg_lambda",
    "regularizer.l1": "l1_reg l1_penalty lambda_l1 reg_alpha",
    "constraint": "kernel_constraint weight_constraint",
    "constraint.max_value": "max_norm_value maxnorm c",
    "initializer": "kernel_initializer weight_init init initialization init_method",
    "initializer@head_initializer": "output_initializer",
    "dropout.drop_prob": "p rate prob probability dropout_rate dropout_prob dropout_p drop_rate drop_path_rate",
    "callbacks=early_stopping": "early_stop earlystopping use_early_stopping",
    "callbacks.patience": "early_stopping_patience n_iter_no_change stop_patience",
    "callbacks=ema": "model_ema use_ema swa",
    "callbacks.ema_decay": "model_ema_decay",
    "mc.samples": "mc_samples n_samples num_samples n_passes passes",
    "seed": "random_seed random_state manual_seed rng_seed seeds",
    "hydra.run.dir": "output_dir out out_dir outdir output log_dir logdir save_dir run_dir default_root_dir",
    "ckpt_path": "ckpt checkpoint_path load_from weights pretrained resume_from_checkpoint load",
    "compile": "torch_compile jit",
}
#: a key that exists only with an option -> that option
_OPTION_FOR = {
    "regularizer.l2": "regularizer=l2",
    "regularizer.l1": "regularizer=l1",
    "constraint.max_value": "constraint=max_norm",
}
#: group -> the override that a number or a list in place of an option stands for
_VALUE_OF = {
    "dropout": "{place}.drop_prob={value} or {place}.keep_prob=...",
    "optimizer": "{place}.lr={value}",
    "regularizer": "{key}=l2 {place}.l2={value}",
    "constraint": "{key}=max_norm {place}.max_value={value}",
    "model": "{place}.hidden=[{value}]",
    "trainer": "{place}.max_epochs={value}",
    "mc": "{place}.samples={value}",
    "callbacks": "{key}=early_stopping {place}.patience={value}",
}
_SWITCHED_ON = {"callbacks": "early_stopping", "dropout": "standard", "mc": "standard", "augmentation": "standard"}
_STRENGTHS = (
    "strength",
    "factor",
    "lambda",
    "lambda_",
    "lamda",
    "alpha",
    "weight",
    "coefficient",
    "coef",
    "penalty",
    "value",
)


def key_for(word: str, value: str = "", within: str = "") -> str:
    """Return our override for a word of another tool; ``""`` if none is similar.

    Args:
        word: a key, or its last part.
        value: the value given for it.
        within: the node that was searched; keys of that node come first.

    Example:
        >>> key_for("learning_rate", "0.1"), key_for("early_stopping", "true"), key_for("maxepochs", "5")
        ('optimizer.lr=0.1', 'callbacks=early_stopping', 'trainer.max_epochs=5')
    """
    names = _names()
    last = word.rpartition(".")[2].lower().replace("-", "_")
    found = names.get(last)
    if found is None and "." not in word and not within:
        groups = [path.name for path in _CONF.iterdir() if path.is_dir()]
        if group := difflib.get_close_matches(last, groups, n=1, cutoff=_CLOSE):
            return _written(group[0], value)
    if found is None:
        close = difflib.get_close_matches(last, names, n=1, cutoff=_CLOSE)
        found = names[close[0]] if close else ()
    inside = [key for key in found if re.split(r"[.=]", key)[0] == within]
    if not found or (within and within in {key.partition(".")[0] for key in _keys()} and not inside):
        return ""
    key = (inside or list(found))[0]
    return _written(key, value)


def options_for(key: str, value: str) -> str:
    """Return the override for a number, a switch or a file given as a group's option; ``""`` for other values.

    Example:
        >>> options_for("dropout@input_dropout", "0.2"), options_for("mc", "false")
        ('input_dropout.drop_prob=0.2 or input_dropout.keep_prob=...', 'mc=none')
    """
    group, _, place = key.partition("@")
    if group == "data" and re.search(r"[/.]", value):
        return f"data=arrays data.path={value}"
    if value.lower() in ("true", "yes", "on") and group in _SWITCHED_ON:
        return f"{key}={_SWITCHED_ON[group]}"
    if value.lower() in ("false", "no", "off", "0", "null", "~"):
        none = next((name for name in ("none", "default") if (_CONF / group / f"{name}.yaml").exists()), "")
        return f"{key}={none}" if none else ""
    if re.fullmatch(r"-?[\d.]+(e-?\d+)?|\[[\d, ]*\]", value, re.IGNORECASE) and group in _VALUE_OF:
        return _VALUE_OF[group].format(key=key, place=place or group, value=value.strip("[]"))
    return ""


def strength_of(place: str, keys: list[str], last: str) -> str:
    """Return the key of a rule's strength if `last` is another rule's name for it; else ``""``."""
    others = [key for key in keys if key not in ("name", "where", "rules", "mode", "groups", "dims")]
    return f"{place}.{others[0]}" if last in _STRENGTHS and others else ""


def _written(key: str, value: str) -> str:
    if "=" in key or not value:
        return key
    chosen = f"{_OPTION_FOR[key]} " if key in _OPTION_FOR else ""
    return f"{chosen}{key}={value}"


@cache
def _names() -> dict[str, tuple[str, ...]]:
    """Map words to the keys that they may mean, most likely first: other tools' names, last parts of keys, options."""
    names: dict[str, tuple[str, ...]] = {}

    def add(word: str, key: str) -> None:
        names[word] = (*names.get(word, ()), *([key] if key not in names.get(word, ()) else []))

    for key, words in _OTHER_NAMES.items():
        add(key.rpartition(".")[2].rpartition("=")[2].rpartition("@")[2], key)
        for word in words.split():
            add(word, key)
    for key in _keys():
        add(key.rpartition(".")[2], key)
    for path in sorted(_CONF.glob("*/*.yaml")):
        if path.parent.name not in ("experiment", "study", "schedule") and path.stem not in ("none", "default", "auto"):
            add(path.stem, f"{path.parent.name}={path.stem}")
    return names


@cache
def _keys() -> tuple[str, ...]:
    """Return all keys of all groups, those that most options have first."""
    counts: dict[str, int] = {}
    for group, key in _keys_of_options():
        counts[f"{group}.{key}"] = counts.get(f"{group}.{key}", 0) + 1
    return tuple(sorted(counts, key=lambda key: (-counts[key], key)))


def _keys_of_options() -> Iterator[tuple[str, str]]:
    for path in _CONF.glob("*/*.yaml"):
        group = path.parent.name
        if group in ("experiment", "study", "hparams_search", "schedule"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if (found := re.match(r"(\w+):", line)) and found[1] not in ("name", "defaults"):
                yield group, found[1]
    for (group, _), node in plugin_nodes().items():
        yield from ((group, str(key)) for key in node if key not in ("name", "defaults"))
