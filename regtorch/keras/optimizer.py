"""The optimizer that a Keras model was compiled with, over the torch parameters, with its state."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regtorch.errors import KerasFileError, SettingError
from regtorch.keras.plan import Weight
from regtorch.keras.settings import Settings
from regtorch.keras.weights import WeightFile
from regtorch.registry import create

Trained = Sequence[tuple[Weight, nn.Parameter]]

_AROUND = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps")

#: state of the file in the order in which Keras keeps it: the names that stand side by side for each weight, then the next
_STATE: dict[str, tuple[tuple[str, ...], ...]] = {
    "SGD": (("momentum_buffer",),),
    "Adam": (("exp_avg", "exp_avg_sq"),),
    "AdamW": (("exp_avg", "exp_avg_sq"),),
    "Nadam": (("exp_avg", "exp_avg_sq"),),
    "Adamax": (("exp_avg", "exp_inf"),),
    "Adagrad": (("sum",),),
    "Adadelta": (("square_avg", "acc_delta"),),
    "RMSprop": (("square_avg",), ("momentum_buffer",)),
}

_NUMBERS = {"beta_1": "beta1", "beta_2": "beta2", "epsilon": "epsilon", "rho": "rho"}


def restored(config: Any, file: WeightFile, trained: Trained) -> Optimizer | None:
    """The optimizer of a compiled model; None where the model was not compiled.

    Args:
        config: of the model.
        file: its weights.
        trained: the weights that train, in Keras' order, and their parameters.

    Raises:
        SettingError: there is no optimizer here that takes the same steps.
        KerasFileError: the state does not fit the weights.

    Warns:
        UserWarning: clipping and the like, which is up to the loop here.
    """
    found = _compiled(config)
    if found is None or not trained:
        return None
    name, settings = found
    chosen, arguments = _chosen(name, settings)
    _mention(name, settings)
    optimizer: Optimizer = create("optimizer", chosen, params=[parameter for _, parameter in trained], **arguments)
    if file.count("optimizer") > 2:
        _restore_state(name, chosen, optimizer, settings, file, trained, arguments["lr"])
    return optimizer


def optimizer_node(config: Any) -> dict[str, Any] | None:
    """The configuration node of the optimizer a model was compiled with; None where it was not.

    Raises:
        SettingError: there is no optimizer here that takes the same steps.
    """
    found = _compiled(config)
    if found is None:
        return None
    chosen, arguments = _chosen(*found)
    if around := _around(found[1]):
        raise SettingError(f"optimizer={found[0]} with {', '.join(around)} has no node of its own here")
    return {"name": chosen, **arguments}


def _compiled(config: Any) -> tuple[str, Settings] | None:
    """The name and the settings of the optimizer a model was compiled with."""
    compiled = config.get("compile_config")
    node = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if isinstance(node, str):  # never compiled further than its name
        name = {"sgd": "SGD", "rmsprop": "RMSprop", "adamw": "AdamW"}.get(node, node.capitalize())
        return name, Settings(f"the optimizer {name}", {})
    if not isinstance(node, dict):
        return None
    name = str(node.get("class_name"))
    return name, Settings(f"the optimizer {name}", node.get("config"))


def _chosen(name: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """Our optimizer's name and settings."""
    if name not in _STATE:
        raise SettingError(f"optimizer={name} has no counterpart here; there are: {', '.join(_STATE)}")
    for key in ("amsgrad", "centered", "use_ema"):
        if settings.get(key):
            raise SettingError(f"optimizer={name} with {key}={settings.get(key)} has no counterpart here")
    decay = settings.get("weight_decay")
    if decay and name not in ("Adam", "AdamW"):
        raise SettingError(
            f"optimizer={name} with weight_decay={decay} has no counterpart here: Keras' decay is decoupled for every "
            "optimizer, here only adamw's is"
        )
    arguments = {ours: settings.number(key) for key, ours in _NUMBERS.items() if settings.get(key) is not None}
    arguments["lr"] = _learning_rate(name, settings)
    if name == "SGD":
        momentum = settings.number("momentum", 0.0, low=0)
        if not momentum:
            return "sgd", arguments
        return ("nesterov" if settings.flag("nesterov", False) else "momentum"), {**arguments, "momentum": momentum}
    if name == "RMSprop":
        arguments["momentum"] = settings.number("momentum", 0.0, low=0)
    if decay:  # Adam with a decay is AdamW
        return "adamw", {**arguments, "weight_decay": settings.number("weight_decay", low=0)}
    if name == "Adagrad":
        arguments["initial_accumulator_value"] = settings.number("initial_accumulator_value", 0.1, low=0)
    return name.lower(), arguments


def _around(settings: Settings) -> list[str]:
    """What Keras does around the optimizer, and a torch loop by hand."""
    given = [f"{key}={settings.get(key)}" for key in _AROUND if settings.get(key)]
    return [*given, "the learning rate's schedule"] if isinstance(settings.get("learning_rate"), dict) else given


def _mention(name: str, settings: Settings) -> None:
    if given := _around(settings):
        warnings.warn(f"{name}: {', '.join(given)} of the file is left to your training loop", stacklevel=4)


def _learning_rate(name: str, settings: Settings) -> float:
    """As it was when the model was saved; of a schedule, its first."""
    schedule = settings.get("learning_rate")
    if isinstance(schedule, dict):
        inside = Settings(f"the learning rate of {name}", schedule.get("config"))
        return inside.number("initial_learning_rate", inside.get("learning_rate", 1e-3), low=0)
    return settings.number("learning_rate", 0.01 if name == "SGD" else 1e-3, low=0)


def _restore_state(
    name: str, chosen: str, optimizer: Optimizer, settings: Settings, file: WeightFile, trained: Trained, lr: float
) -> None:
    blocks = [names for names in _STATE[name] if "momentum_buffer" not in names or settings.get("momentum")]
    slots = sum(len(names) * len(trained) for names in blocks) + (name == "Nadam")
    accumulated = len(trained) if settings.get("gradient_accumulation_steps") else 0
    # before them stand the number of steps, the learning rate (not in Keras 2, nor of a schedule), and gradients that
    # are still being added up
    index = file.count("optimizer") - slots
    if index - accumulated not in (1, 2):
        raise settings.wrong("name", f"an optimizer whose state is that of the {len(trained)} weights that train now")
    steps = _steps(file, settings)
    for names in blocks:
        for weight, parameter in trained:
            state = optimizer.state[parameter]
            for key in names:
                file.check("optimizer", index, weight.arrangement.keras_shape)
                array = torch.from_numpy(file.read("optimizer", index))
                # laid out in memory as the parameter is, which fused kernels rely on
                state[key] = torch.empty_like(parameter.detach()).copy_(weight.arrangement.to_torch(array))
                index += 1
    for _, parameter in trained:
        state = optimizer.state[parameter]
        if chosen in ("momentum", "nesterov"):
            state["momentum_buffer"].div_(-lr)  # Keras keeps the step, torch the gradients' sum
            continue
        state["step"] = torch.tensor(float(steps))
        if chosen == "nadam":
            state["mu_product"] = _product_of_momenta(settings.number("beta_1", 0.9), steps)


def _steps(file: WeightFile, settings: Settings) -> int:
    """How many steps the optimizer has taken."""
    file.check("optimizer", 0, (), floating=False)
    steps = float(file.read("optimizer", 0))
    if not 0 <= steps < 2**53:
        raise KerasFileError(f"{settings.owner}: it says that it took {steps:g} steps")
    return int(steps)


def _product_of_momenta(beta: float, steps: int) -> Tensor:
    """What Nadam has multiplied up: ``beta * (1 - 0.5 * 0.96^t)`` over its steps."""
    done = torch.arange(1, min(steps, 100_000) + 1, dtype=torch.float64)  # it is 0 long before
    return (beta * (1 - 0.5 * 0.96**done)).prod().float()
