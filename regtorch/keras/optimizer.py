"""Restore the optimizer of a compiled Keras model, with its state, for the torch parameters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regtorch.errors import KerasFileError, SettingError
from regtorch.keras.messages import shown
from regtorch.keras.plan import Weight
from regtorch.keras.settings import Settings
from regtorch.keras.weights import WeightFile
from regtorch.printable import printable
from regtorch.registry import create

Trained = Sequence[tuple[Weight, nn.Parameter]]

#: settings that Keras applies around the optimizer's step
_OUTSIDE_THE_STEP = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps", "decay")

#: state in the order of the file; the names in one tuple are adjacent for each weight
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


def restored_optimizer(
    config: Any, file: WeightFile, trained: Trained, own: Mapping[str, Sequence[nn.Parameter]], version: str
) -> Optimizer | None:
    """Return the optimizer of a compiled model; None if the model was not compiled.

    Args:
        config: configuration of the model.
        file: weights of the model.
        trained: the trainable weights in Keras' order, and their parameters.
        own: further parameters that have no array in the file, by the layer of their stand-in.
        version: version of the Keras that wrote the file; empty if it is unknown.

    Raises:
        SettingError: no optimizer here takes the same steps, or the file has state for arrays of a stand-in.
        KerasFileError: the state does not match the weights.

    Warns:
        UserWarning: clipping and similar settings, which are left to the training loop.
    """
    found = _compiled(config)
    parameters = [*(parameter for _, parameter in trained), *(p for group in own.values() for p in group)]
    if found is None or not parameters:
        return None
    name, settings = found
    chosen, arguments = _chosen(name, settings)
    _warn_of_settings(name, settings)
    optimizer: Optimizer = create("optimizer", chosen, params=parameters, **arguments)
    state = file.count("optimizer") > 2
    if state and own:
        raise SettingError(
            f"optimizer={name} of the file has state for the weights of {next(iter(own))}, which its stand-in stores in "
            "another form: build one with torch.optim over port.model.parameters()"
        )
    if settings.get("decay") is not None and not state:
        warnings.warn(
            f"{name}: the file has no state of this legacy optimizer, so it starts without state", stacklevel=4
        )
    if state and not (chosen == "sgd" and version.startswith("2.")):  # Keras 2 stores momenta of 0 for it
        _restore_state(_State(name, chosen, settings, file, trained, version), optimizer, arguments["lr"])
    return optimizer


def optimizer_node(config: Any) -> dict[str, Any] | None:
    """The configuration node of the optimizer of a compiled model; None if the model was not compiled.

    Raises:
        SettingError: no optimizer here takes the same steps.
    """
    found = _compiled(config)
    if found is None:
        return None
    chosen, arguments = _chosen(*found)
    if outside := _outside_the_step(found[1]):
        raise SettingError(f"optimizer={found[0]} with {', '.join(outside)} has no configuration node here")
    return {"name": chosen, **arguments}


def _compiled(config: Any) -> tuple[str, Settings] | None:
    """The name and the settings of the optimizer of a compiled model; None if it was not compiled."""
    compiled = config.get("compile_config")
    node = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if isinstance(node, str):  # only the name is stored
        name = {"sgd": "SGD", "rmsprop": "RMSprop", "adamw": "AdamW"}.get(node, node.capitalize())
        return name, Settings(f"the optimizer {name}", {})
    if not isinstance(node, dict):
        return None
    name = str(node.get("class_name"))
    return name, Settings(f"the optimizer {name}", node.get("config"))


def _chosen(name: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the equivalent optimizer of regtorch."""
    if name not in _STATE:
        raise SettingError(
            f"optimizer={printable(name, 60)} has no counterpart here; supported are: {', '.join(_STATE)}"
        )
    if settings.get("decay") is not None and name in ("Nadam", "RMSprop") and not settings.get("momentum"):
        lr = _learning_rate(name, settings)
        instead = f"; torch.optim.RMSprop(port.model.parameters(), lr={lr:g}, alpha={settings.get('rho', 0.9)}, eps=1e-7) does"
        raise SettingError(
            f"optimizer=legacy.{name} takes other steps than {name}, which is supported" + instead * (name == "RMSprop")
        )
    for key in ("amsgrad", "centered", "use_ema"):
        if settings.get(key):
            raise SettingError(f"optimizer={name} with {key}={shown(settings.get(key))} has no counterpart here")
    decay = settings.get("weight_decay")
    if decay and name not in ("Adam", "AdamW"):
        raise SettingError(
            f"optimizer={name} with weight_decay={shown(decay)} has no counterpart here: Keras' decay is decoupled for every "
            "optimizer, here only that of adamw"
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


def _outside_the_step(settings: Settings) -> list[str]:
    """The settings that Keras applies around the optimizer's step, and that a torch loop has to apply itself."""
    given = [f"{key}={shown(settings.get(key))}" for key in _OUTSIDE_THE_STEP if settings.get(key)]
    return [*given, "the learning rate's schedule"] if isinstance(settings.get("learning_rate"), dict) else given


def _warn_of_settings(name: str, settings: Settings) -> None:
    if given := _outside_the_step(settings):
        warnings.warn(f"{name}: {', '.join(given)} of the file is left to your training loop", stacklevel=5)


def _learning_rate(name: str, settings: Settings) -> float:
    """The learning rate when the model was saved, or the first one of a schedule."""
    schedule = settings.get("learning_rate")
    if isinstance(schedule, dict):
        inside = Settings(f"the learning rate of {name}", schedule.get("config"))
        return inside.number("initial_learning_rate", inside.get("learning_rate", 1e-3), low=0)
    return settings.number("learning_rate", 0.01 if name == "SGD" else 1e-3, low=0)


@dataclass(frozen=True)
class _State:
    """The state of an optimizer in the file.

    Args:
        name: Keras' name of the optimizer.
        chosen: regtorch's name of the optimizer.
        settings: settings of the optimizer.
        file: the weights.
        trained: the trainable weights in Keras' order, and their parameters.
        version: version of the Keras that wrote the file; empty if it is unknown.
    """

    name: str
    chosen: str
    settings: Settings
    file: WeightFile
    trained: Trained
    version: str

    @property
    def is_keras_2(self) -> bool:
        """Whether Keras 2 wrote the file: then it has neither the learning rate nor Nadam's product."""
        return self.version.startswith("2.") or "is_legacy_optimizer" in self.settings.values

    @property
    def blocks(self) -> list[tuple[str, ...]]:
        """The names of the state of each weight, in the order of the file."""
        return [n for n in _STATE[self.name] if "momentum_buffer" not in n or self.settings.get("momentum")]

    def first(self) -> int:
        """Return the index of the first array that belongs to a weight.

        It comes after the number of steps, the learning rate (absent in Keras 2 and with a schedule) and partially
        accumulated gradients. Nadam's product is first up to Keras 3.9, and last from 3.10 on.
        """
        weights, total = len(self.trained), self.file.count("optimizer")
        product = self.name == "Nadam" and not self.is_keras_2
        accumulated = weights if self.settings.get("gradient_accumulation_steps") else 0
        before = total - sum(map(len, self.blocks)) * weights - product - accumulated
        if before not in (1, 2):
            raise KerasFileError(
                f"{self.settings.owner}: its state of {total} arrays is not that of the {weights} weights that train now"
            )
        first = before + accumulated
        return first + 1 if product and self.file.shape("optimizer", total - 1) != () else first


def _restore_state(saved: _State, optimizer: Optimizer, lr: float) -> None:
    index, steps = saved.first(), _steps(saved.file, saved.settings)
    for names in saved.blocks:
        for weight, parameter in saved.trained:
            state = optimizer.state[parameter]
            for key in names:
                saved.file.check("optimizer", index, weight.arrangement.keras_shape)
                array = torch.from_numpy(saved.file.read("optimizer", index))
                # with the memory format of the parameter, as fused kernels require it
                state[key] = torch.empty_like(parameter.detach()).copy_(weight.arrangement.to_torch(array))
                index += 1
    beta = saved.settings.number("beta_1", 0.9, low=0, high=1)
    for place, (_, parameter) in enumerate(saved.trained):
        state = optimizer.state[parameter]
        if saved.chosen in ("momentum", "nesterov"):
            state["momentum_buffer"].div_(-lr)  # Keras stores the step, torch the sum of the gradients
            continue
        state["step"] = torch.tensor(float(steps))
        if saved.chosen == "nadam" and saved.is_keras_2:
            state["mu_product"] = _keras_2_product_of_momenta(beta, steps, len(saved.trained), place)
        elif saved.chosen == "nadam":
            state["mu_product"] = _momenta(beta, steps).prod().float()


def _steps(file: WeightFile, settings: Settings) -> int:
    """The number of steps that the optimizer has taken."""
    file.check("optimizer", 0, (), floating=False)
    steps = float(file.read("optimizer", 0))
    if not 0 <= steps < 2**53:
        raise KerasFileError(f"{settings.owner}: its number of steps, {steps:g}, is impossible")
    return int(steps)


def _momenta(beta: float, steps: int) -> Tensor:
    """Nadam's momenta ``beta * (1 - 0.5 * 0.96^t)`` of the steps taken."""
    done = torch.arange(1, min(steps, 100_000) + 1, dtype=torch.float64)  # the product is 0 long before this limit
    return beta * (1 - 0.5 * 0.96**done)


def _keras_2_product_of_momenta(beta: float, steps: int, weights: int, place: int) -> Tensor:
    """The product of momenta in Nadam of Keras 2 for one of the weights; it is not in the file.

    Keras 2 is meant to multiply once per step, but multiplies for each weight, because its counter is a constant of the
    graph, which was traced twice. In step t it multiplies for all weights except the one at index t - `weights`, if there
    is one. In the next step, the product of a weight also contains the momenta of the weights before it.
    """
    momenta = _momenta(beta, steps + 1)
    done = torch.arange(1, len(momenta))
    times = weights - ((weights <= done) & (done < 2 * weights)).double()
    before = place - (0 <= len(momenta) - weights <= place)
    return ((momenta[:-1] ** times).prod() * momenta[-1] ** before).float()
