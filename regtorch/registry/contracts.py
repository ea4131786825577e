"""Requirements on components by kind: base class, constructor arguments besides the settings, and behavior."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from typing import TYPE_CHECKING, Any

from regtorch.errors import ContractError, as_one_line
from regtorch.registry.configurable import Configurable

if TYPE_CHECKING:
    from regtorch.registry import Component


@dataclass(frozen=True)
class Contract:
    """Requirements on all components of a kind.

    Args:
        base: the required base class, ``module:name``.
        method: the method that a subclass must define.
        given: keyword arguments that the constructor receives in addition to the settings.
        offered: keyword arguments that it receives if it accepts them.
        functions: whether a function that builds a component is allowed instead of a class.
    """

    base: str
    method: str
    given: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    functions: bool = True


_MODULE = "torch.nn:Module"
CONTRACTS = {
    "regularizer": Contract("regtorch.regularizers.base:Regularizer", "forward", functions=False),
    "constraint": Contract("regtorch.constraints.base:Constraint", "forward", functions=False),
    "dropout": Contract(_MODULE, "forward", functions=False),
    "initializer": Contract("regtorch.initializers.base:Initializer", "fill"),
    "activation": Contract(_MODULE, "forward"),
    "optimizer": Contract("torch.optim:Optimizer", "step", given=("params",)),
    "scheduler": Contract("regtorch.schedulers.base:Scheduler", "build"),
    "schedule": Contract("regtorch.schedules.base:Schedule", "factor"),
    "model": Contract(
        _MODULE,
        "forward",
        given=("shape", "classes"),
        offered=("activation", "initializer", "head_initializer", "dropout", "input_dropout"),
    ),
    "data": Contract("regtorch.data.base:DataSet", "read"),
    "augmentation": Contract("regtorch.augmentations.base:Augmentation", "augment"),
}


def accepted_names(factory: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """The names among `names` that a class or function accepts as keyword arguments.

    Example:
        >>> accepted_names(lambda shape, *, dropout=None: None, ["shape", "classes", "dropout"])
        ['shape', 'dropout']
    """
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(names)
    by_name = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return [name for name in names if name in by_name]


def check_contract(component: Component) -> None:
    """Check that a component meets the requirements of its kind; build and try it if that needs no settings.

    Raises:
        ContractError: it does not.
    """
    kind, factory = component.kind, component.load()
    contract = CONTRACTS[kind]
    called = f"{kind} {component.name!r} ({component.owner})"
    module, _, name = contract.base.partition(":")
    base: type = getattr(import_module(module), name)
    if not callable(factory):
        raise ContractError(f"{called} is not callable")
    if isinstance(factory, type):
        if not issubclass(factory, base):
            raise ContractError(f"{called} must be a subclass of {base.__module__}.{base.__qualname__}")
        if missing := getattr(factory, "__abstractmethods__", None):
            raise ContractError(f"{called} lacks {', '.join(sorted(missing))}")
        if contract.method not in _defined(factory, base):
            raise ContractError(f"{called} lacks the method {contract.method}")
    elif not contract.functions:
        raise ContractError(f"{called} is not a class: it must be a subclass of {base.__module__}.{base.__qualname__}")
    accepted = accepted_names(factory, contract.given)
    if refused := [name for name in contract.given if name not in accepted]:
        raise ContractError(
            f"{called} does not accept {' and '.join(refused)}: it is called with {'=, '.join(contract.given)}="
        )
    reserved = {"name", *(["where"] if kind in ("regularizer", "constraint") else [])}
    parameters = inspect.signature(factory).parameters.values()
    if wrong_names := reserved & {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}:
        raise ContractError(
            f"{called} takes an argument {' and '.join(sorted(wrong_names))}, which is a key of its configuration: rename it"
        )
    _check_kept(called, factory, {"drop_prob": 0.5} if kind == "dropout" else stand_ins(kind))
    if kind in _TRIALS and _needs_nothing_but(factory, contract.given):
        try:
            wrong = _try(kind, factory)
        except Exception as error:
            raise ContractError(f"{called} cannot be used: {as_one_line(error)}") from error
        if wrong:
            raise ContractError(f"{called} {wrong}")


def _check_kept(called: str, factory: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise if a `Configurable` does not store each argument, provided that it can be built with these settings."""
    if not (isinstance(factory, type) and issubclass(factory, Configurable)):
        return
    try:
        made = factory.from_config(**settings)
    except Exception:  # it needs other settings, which are not known here
        return
    try:
        made.settings()
    except AttributeError as error:
        raise ContractError(
            f"{called} has no attribute {error.name}: each argument must be stored under its own name, for to_config()"
        ) from error


def stand_ins(kind: str) -> dict[str, Any]:
    """Arguments in addition to the settings, for a trial construction."""
    if kind != "optimizer":
        return {}
    import torch

    return {"params": [torch.ones(2, requires_grad=True)]}


def _needs_nothing_but(factory: Callable[..., Any], given: Iterable[str]) -> bool:
    """Whether a component can be built without settings."""
    parameters = inspect.signature(factory).parameters.items()
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or name in given
        for name, p in parameters
    )


def _defined(factory: type, base: type) -> set[str]:
    """Names defined by a class or by the classes between it and its base."""
    above = set(base.__mro__)
    return {name for cls in factory.__mro__ if cls not in above for name in vars(cls)}


def _try(kind: str, factory: Callable[..., Any]) -> str:
    """Build a component and run it on a few numbers; return what is wrong, or an empty string."""
    import torch

    given = stand_ins(kind)
    made = getattr(factory, "from_config", factory)(**given)
    with torch.random.fork_rng(devices=()):
        return _TRIALS[kind](made)


def _of_shape(shape: tuple[int, ...], wanted: tuple[int, ...], what: str) -> Callable[[Any], str]:
    """A trial of a component that maps a tensor of one shape to a tensor of another."""

    def trial(made: Any) -> str:
        import torch

        with torch.no_grad():
            result = made(torch.linspace(-1.0, 1.0, math.prod(shape)).reshape(shape))
        found = tuple(result.shape) if isinstance(result, torch.Tensor) else None
        if found == wanted:
            return ""
        returned = f"a tensor of shape {found}" if found is not None else f"a {type(result).__name__}"
        return f"returns {returned} for {what} of shape {shape}: it must return shape {wanted}"

    return trial


def _of_either(*trials: Callable[[Any], str]) -> Callable[[Any], str]:
    """A trial that uses the first one that does not raise, as some rules support only one type of layer."""

    def trial(made: Any) -> str:
        wrong: Exception | None = None
        for one in trials:
            try:
                return one(made)
            except Exception as error:
                wrong = wrong or error
        assert wrong is not None
        raise wrong

    return trial


def _fills(made: Any) -> str:
    import torch

    w = torch.full((3, 4), math.nan)
    with torch.no_grad():
        made(w)
    return "" if w.isfinite().all() else "leaves entries of a weight of shape (3, 4) unfilled"


def _steps(made: Any) -> str:
    import torch

    w = made.param_groups[0]["params"][0]

    def loss() -> torch.Tensor:
        made.zero_grad()
        value: torch.Tensor = (w**2).sum()
        value.backward()
        return value

    loss()
    made.step(loss)
    return "" if w.isfinite().all() else "makes the weights NaN or infinite in its first step"


def _builds(made: Any) -> str:
    import torch

    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    built = made.build(optimizer, total_steps=10, epochs=2, steps_per_epoch=5)
    fits = built is None or (isinstance(built, dict) and "scheduler" in built)
    return "" if fits else f'builds a {type(built).__name__}: it must be None, or {{"scheduler": ..., "interval": ...}}'


def _factors(made: Any) -> str:
    for progress in (0.0, 0.5, 1.0):
        factor = made.factor(progress)
        if not (isinstance(factor, Real) and math.isfinite(float(factor)) and float(factor) >= 0):
            return f"returns factor({progress}) = {factor}: it must be a finite number >= 0"
    return ""


#: kind -> its trial. There is none for dropouts, which may support images only, nor for data sets and models, which are
#: tried when they are selected
_TRIALS: dict[str, Callable[[Any], str]] = {
    "regularizer": _of_either(_of_shape((3, 4), (), "a weight"), _of_shape((4, 3, 3, 3), (), "a weight")),
    "constraint": _of_either(_of_shape((3, 4), (3, 4), "a weight"), _of_shape((4, 3, 3, 3), (4, 3, 3, 3), "a weight")),
    "activation": _of_shape((3, 4), (3, 4), "features"),
    "augmentation": _of_shape((2, 3, 32, 32), (2, 3, 32, 32), "images"),
    "initializer": _fills,
    "optimizer": _steps,
    "scheduler": _builds,
    "schedule": _factors,
}
