"""Known-bad combinations of settings, each with its source; needs no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from regtorch.errors import as_one_line
from regtorch.registry.importing import being_imported

Config = Mapping[str, Any]
_log = logging.getLogger("regtorch")


@dataclass(frozen=True)
class Advice:
    """A condition on a configuration that is known to work badly, the reason, and the source."""

    applies: Callable[[Config], bool]
    text: str
    source: str
    #: the modules that were being imported when the advice was added
    importing: tuple[str, ...] = ()


def _name(config: Config, place: str) -> str:
    return str(config[place]["name"])


def _decays(config: Config, *optimizers: str) -> bool:
    return _name(config, "optimizer") in optimizers and bool(config["optimizer"].get("weight_decay"))


def _penalizes_squares(config: Config) -> bool:
    return bool(config["regularizer"].get("l2"))


def _regularizes_drop_prob(config: Config) -> bool:
    rules = config["regularizer"].get("rules") or [config["regularizer"]]
    return any(rule["name"] == "concrete" and rule.get("dropout_regularizer") != 0 for rule in rules)


def _is_test_run(config: Config) -> bool:
    """Whether Trainer settings skip rows: a limit given as a number of batches, or as a fraction below 1."""
    trainer = config.get("trainer", {})
    limits = (trainer.get(f"limit_{part}_batches") for part in ("train", "test"))
    limited = any(limit is not None and (type(limit) is int or limit < 1) for limit in limits)
    return bool(trainer.get("fast_dev_run") or trainer.get("overfit_batches") or limited)


ADVICE = (
    Advice(
        _is_test_run,
        "a test run, not a result: fast_dev_run, overfit_batches and limit_*_batches train or measure on part of the rows",
        "PyTorch Lightning, Trainer, section Trainer flags",
    ),
    Advice(
        lambda c: _name(c, "dropout") in ("alpha", "feature_alpha") and _name(c, "activation") != "selu",
        "alpha dropout keeps mean and variance for selu only; use activation=selu initializer=lecun_normal, or dropout=standard",
        "Klambauer et al., Self-Normalizing Neural Networks, 2017",
    ),
    Advice(
        lambda c: _name(c, "activation") == "selu" and _name(c, "initializer") != "lecun_normal",
        "selu normalizes itself only with LeCun normal weights; use initializer=lecun_normal",
        "Klambauer et al., Self-Normalizing Neural Networks, 2017",
    ),
    Advice(
        lambda c: _name(c, "dropout") == "standard" and _name(c, "activation") == "selu",
        "ordinary dropout breaks selu's self-normalization; use dropout=alpha",
        "Klambauer et al., Self-Normalizing Neural Networks, 2017",
    ),
    Advice(
        lambda c: (
            _name(c, "dropout") not in ("none", "drop_connect") and c["model"].get("batch_norm") == "after_dropout"
        ),
        "batch normalization after dropout sees a different variance in evaluation than in training; put dropout last",
        "Li et al., Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift, 2019",
    ),
    Advice(
        lambda c: "concrete" in (_name(c, "dropout"), _name(c, "input_dropout")) and not _regularizes_drop_prob(c),
        "the loss alone drives a learned probability to zero; add regularizer=concrete",
        "Gal, Hron and Kendall, Concrete Dropout, 2017",
    ),
    Advice(
        lambda c: _penalizes_squares(c) and c["model"].get("batch_norm") == "before",
        "L2 on weights before batch normalization does not shrink the function; it raises the effective learning rate",
        "van Laarhoven, L2 Regularization versus Batch and Weight Normalization, 2017",
    ),
    Advice(
        # users of L1 and L2 together want a penalty; L2 alone is often meant as decay
        lambda c: (
            _name(c, "regularizer") == "l2"
            and _penalizes_squares(c)
            and _name(c, "optimizer") in ("adam", "adamw", "nadam", "adamax", "rmsprop")
        ),
        "L2 in the loss of an adaptive optimizer is scaled by its step sizes and is not weight decay; for decay use adamw",
        "Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019",
    ),
    Advice(
        lambda c: (
            _penalizes_squares(c) and _decays(c, "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
        ),
        "both the L2 penalty and weight_decay shrink the weights: coupled weight_decay=d is equivalent to another l2=d/2",
        "Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019",
    ),
    Advice(
        lambda c: _name(c, "regularizer") == "l1",
        "an L1 penalty in the loss leaves small weights, not zeros; for exact zeros use constraint=soft_threshold",
        "Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm, 2009",
    ),
    Advice(
        lambda c: (
            _name(c, "model") == "mlp"
            and _name(c, "dropout")
            in ("spatial1d", "spatial2d", "spatial3d", "drop_block2d", "drop_block3d", "feature_alpha")
        ),
        "in an mlp a feature is a map of one pixel, so dropping maps is dropping units; use model=cnn or dropout=standard",
        "Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015",
    ),
    Advice(
        lambda c: _name(c, "initializer") in ("zeros", "ones", "constant"),
        "units that start equal stay equal: every hidden layer learns one unit; use a random initializer",
        "Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4",
    ),
)


_plugin_advice: list[Advice] = []


def advise_against(applies: Callable[[Config], bool], text: str, source: str) -> None:
    """Add advice against a combination of settings, for example in a plugin about its own components.

    Args:
        applies: whether the advice applies to a configuration of `train.py`, given as plain containers.
        text: why the combination is bad, and what to use instead.
        source: the publication that shows it.

    Example:
        >>> advise_against(lambda c: c["dropout"]["name"] == "mine" and c["seed"] == 13, "it is unlucky", "folklore")
    """
    _plugin_advice.append(Advice(applies, text, source, being_imported()))


def added() -> list[Advice]:
    """The advice that is not built in."""
    return list(_plugin_advice)


def forget(added: Collection[Advice]) -> None:
    """Remove advice."""
    _plugin_advice[:] = [a for a in _plugin_advice if a not in added]


def advise(config: Config) -> list[dict[str, str]]:
    """The advice that applies to a configuration of `train.py`; that of plugins counts once they are loaded.

    Args:
        config: the configuration as plain containers.

    Returns:
        A list of ``{"text": ..., "source": ...}``, empty if none applies.
    """
    from_plugins = [a for a in _plugin_advice if _applies(a, config)]
    return [{"text": a.text, "source": a.source} for a in (*(a for a in ADVICE if a.applies(config)), *from_plugins)]


def _applies(advice: Advice, config: Config) -> bool:
    """Whether a plugin's advice applies; if it raises, for it may know only its own components, log that and skip it."""
    try:
        return bool(advice.applies(config))
    except Exception as error:
        _log.warning("advice by %s (%r) is left out: %s", advice.source, advice.text, as_one_line(error))
        return False
