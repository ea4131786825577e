"""The optimizer that a Keras model was compiled with, over the torch parameters, with its state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regtorch.errors import KerasFileError, SettingError
from regtorch.keras.plan import Weight
from regtorch.keras.settings import Settings
from regtorch.keras.weights import WeightFile
from regtorch.keras.wording import shortened, shown
from regtorch.registry import create

Trained = Sequence[tuple[Weight, nn.Parameter]]

_AROUND = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps", "decay")

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


def restored(
    config: Any, file: WeightFile, trained: Trained, own: Mapping[str, Sequence[nn.Parameter]], version: str
) -> Optimizer | None:
    """The optimizer of a compiled model; None where the model was not compiled.

    Args:
        config: of the model.
        file: its weights.
        trained: the weights that train, in Keras' order, and their parameters.
        own: further parameters, which have no array in the file, by the layer that their module stands in for.
        version: of the Keras that wrote the file; empty where it is not known.

    Raises:
        SettingError: there is no optimizer here that takes the same steps, or it has state for arrays of a stand-in.
        KerasFileError: the state does not fit the weights.

    Warns:
        UserWarning: clipping and the like, which is up to the loop here.
    """
    found = _compiled(config)
    parameters = [*(parameter for _, parameter in trained), *(p for group in own.values() for p in group)]
    if found is None or not parameters:
        return None
    name, settings = found
    chosen, arguments = _chosen(name, settings)
    _mention(name, settings)
    optimizer: Optimizer = create("optimizer", chosen, params=parameters, **arguments)
    state = file.count("optimizer") > 2
    if state and own:
        raise SettingError(
            f"optimizer={name} of the file has state for the weights of {next(iter(own))}, which its stand-in keeps in a "
            "form of its own: build one with torch.optim over port.model.parameters()"
        )
    if settings.get("decay") is not None and not state:
        warnings.warn(f"{name}: the file holds no state of this legacy optimizer, so it starts afresh", stacklevel=4)
    if state and not (chosen == "sgd" and version.startswith("2.")):  # Keras 2 keeps momenta of 0 there
        _restore_state(_State(name, chosen, settings, file, trained, version), optimizer, arguments["lr"])
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
        raise SettingError(f"optimizer={shortened(name, 60)} has no counterpart here; there are: {', '.join(_STATE)}")
    if settings.get("decay") is not None and name in ("Nadam", "RMSprop") and not settings.get("momentum"):
        lr = _learning_rate(name, settings)
        instead = f"; torch.optim.RMSprop(port.model.parameters(), lr={lr:g}, alpha={settings.get('rho', 0.9)}, eps=1e-7) does"
        raise SettingError(
            f"optimizer=legacy.{name} takes other steps than {name} does, which is here" + instead * (name == "RMSprop")
        )
    for key in ("amsgrad", "centered", "use_ema"):
        if settings.get(key):
            raise SettingError(f"optimizer={name} with {key}={shown(settings.get(key))} has no counterpart here")
    decay = settings.get("weight_decay")
    if decay and name not in ("Adam", "AdamW"):
        raise SettingError(
            f"optimizer={name} with weight_decay={shown(decay)} has no counterpart here: Keras' decay is decoupled for every "
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
    given = [f"{key}={shown(settings.get(key))}" for key in _AROUND if settings.get(key)]
    return [*given, "the learning rate's schedule"] if isinstance(settings.get("learning_rate"), dict) else given


def _mention(name: str, settings: Settings) -> None:
    if given := _around(settings):
        warnings.warn(f"{name}: {', '.join(given)} of the file is left to your training loop", stacklevel=5)


def _learning_rate(name: str, settings: Settings) -> float:
    """As it was when the model was saved; of a schedule, its first."""
    schedule = settings.get("learning_rate")
    if isinstance(schedule, dict):
        inside = Settings(f"the learning rate of {name}", schedule.get("config"))
        return inside.number("initial_learning_rate", inside.get("learning_rate", 1e-3), low=0)
    return settings.number("learning_rate", 0.01 if name == "SGD" else 1e-3, low=0)


@dataclass(frozen=True)
class _State:
    """What the file has of an optimizer.

    Args:
        name: Keras' of the optimizer.
        chosen: ours.
        settings: of the optimizer.
        file: the weights.
        trained: the weights that train, in Keras' order, and their parameters.
        version: of the Keras that wrote the file; empty where it is not known.
    """

    name: str
    chosen: str
    settings: Settings
    file: WeightFile
    trained: Trained
    version: str

    @property
    def older(self) -> bool:
        """Whether Keras 2 wrote it: then neither the learning rate nor Nadam's product is in the file."""
        return self.version.startswith("2.") or "is_legacy_optimizer" in self.settings.values

    @property
    def blocks(self) -> list[tuple[str, ...]]:
        """The names that the state of a weight has, in the order of the file."""
        return [n for n in _STATE[self.name] if "momentum_buffer" not in n or self.settings.get("momentum")]

    def first(self) -> int:
        """The number of the first array that belongs to a weight.

        Before them stand the number of steps, the learning rate (not in Keras 2, nor of a schedule), and gradients that
        are still being added up; Nadam's product stands first up to Keras 3.9, and last from 3.10 on.
        """
        weights, total = len(self.trained), self.file.count("optimizer")
        product = self.name == "Nadam" and not self.older
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
                # laid out in memory as the parameter is, which fused kernels rely on
                state[key] = torch.empty_like(parameter.detach()).copy_(weight.arrangement.to_torch(array))
                index += 1
    beta = saved.settings.number("beta_1", 0.9, low=0, high=1)
    for place, (_, parameter) in enumerate(saved.trained):
        state = optimizer.state[parameter]
        if saved.chosen in ("momentum", "nesterov"):
            state["momentum_buffer"].div_(-lr)  # Keras keeps the step, torch the gradients' sum
            continue
        state["step"] = torch.tensor(float(steps))
        if saved.chosen == "nadam" and saved.older:
            state["mu_product"] = _older_product_of_momenta(beta, steps, len(saved.trained), place)
        elif saved.chosen == "nadam":
            state["mu_product"] = _momenta(beta, steps).prod().float()


def _steps(file: WeightFile, settings: Settings) -> int:
    """How many steps the optimizer has taken."""
    file.check("optimizer", 0, (), floating=False)
    steps = float(file.read("optimizer", 0))
    if not 0 <= steps < 2**53:
        raise KerasFileError(f"{settings.owner}: it says that it took {steps:g} steps")
    return int(steps)


def _momenta(beta: float, steps: int) -> Tensor:
    """Nadam's momenta ``beta * (1 - 0.5 * 0.96^t)`` of its steps."""
    done = torch.arange(1, min(steps, 100_000) + 1, dtype=torch.float64)  # their product is 0 long before
    return beta * (1 - 0.5 * 0.96**done)


def _older_product_of_momenta(beta: float, steps: int, weights: int, place: int) -> Tensor:
    """The product that Nadam of Keras 2 has for one of the weights; the file does not hold it.

    Keras 2 means to multiply once a step, but does so for each weight, as its counter is a constant of the graph that was
    traced, twice: in step t for all weights but that at the place t - `weights`, if there is one. In the step to come, a
    weight finds the momenta of those before it multiplied in, too.
    """
    momenta = _momenta(beta, steps + 1)
    done = torch.arange(1, len(momenta))
    times = weights - ((weights <= done) & (done < 2 * weights)).double()
    before = place - (0 <= len(momenta) - weights <= place)
    return ((momenta[:-1] ** times).prod() * momenta[-1] ** before).float()
