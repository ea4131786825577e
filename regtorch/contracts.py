"""What a component of each kind must be: its base, what its constructor is given beside its settings, what it then does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from typing import TYPE_CHECKING, Any

from regtorch.configurable import Configurable
from regtorch.errors import ContractError, as_one_line

if TYPE_CHECKING:
    from regtorch.registry import Component


@dataclass(frozen=True)
class Contract:
    """What holds for all components of a kind.

    Args:
        base: the class that theirs are subclasses of, ``module:name``.
        method: that a subclass must define.
        given: what the constructor is given by name, beside the settings.
        offered: what it is given if it takes it.
        functions: whether a function that builds one will do, too.
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


def taken(factory: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """Those of the names that a class or function takes as keyword arguments.

    Example:
        >>> taken(lambda shape, *, dropout=None: None, ["shape", "classes", "dropout"])
        ['shape', 'dropout']
    """
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(names)
    by_name = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return [name for name in names if name in by_name]


def check_contract(component: Component) -> None:
    """Check that a class is what its kind is used as; what can be made without a setting is made, and tried.

    Raises:
        ContractError: it is not.
    """
    kind, factory = component.kind, component.load()
    contract = CONTRACTS[kind]
    called = f"{kind} {component.name!r} ({component.owner})"
    module, _, name = contract.base.partition(":")
    base: type = getattr(import_module(module), name)
    if not callable(factory):
        raise ContractError(f"{called} is nothing that can be called")
    if isinstance(factory, type):
        if not issubclass(factory, base):
            raise ContractError(f"{called} must be a subclass of {base.__module__}.{base.__qualname__}")
        if missing := getattr(factory, "__abstractmethods__", None):
            raise ContractError(f"{called} lacks {', '.join(sorted(missing))}")
        if contract.method not in _defined(factory, base):
            raise ContractError(f"{called} lacks the method {contract.method}")
    elif not contract.functions:
        raise ContractError(f"{called} is no class: it must be a subclass of {base.__module__}.{base.__qualname__}")
    accepted = taken(factory, contract.given)
    if refused := [name for name in contract.given if name not in accepted]:
        raise ContractError(
            f"{called} takes no argument {' and no '.join(refused)}: it is made with {'=, '.join(contract.given)}="
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
    """Refuse a class of ours that forgets an argument, if one can be made with these settings."""
    if not (isinstance(factory, type) and issubclass(factory, Configurable)):
        return
    try:
        made = factory.from_config(**settings)
    except Exception:  # it needs others, which its author knows
        return
    try:
        made.settings()
    except AttributeError as error:
        raise ContractError(
            f"{called} keeps no attribute {error.name}: each argument must be kept under its name, for to_config()"
        ) from error


def stand_ins(kind: str) -> dict[str, Any]:
    """What the constructor is given beside the settings, to try whether one can be made."""
    if kind != "optimizer":
        return {}
    import torch

    return {"params": [torch.ones(2, requires_grad=True)]}


def _needs_nothing_but(factory: Callable[..., Any], given: Iterable[str]) -> bool:
    """Whether one can be made without a setting."""
    parameters = inspect.signature(factory).parameters.items()
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or name in given
        for name, p in parameters
    )


def _defined(factory: type, base: type) -> set[str]:
    """Names that a class or those between it and its base define."""
    above = set(base.__mro__)
    return {name for cls in factory.__mro__ if cls not in above for name in vars(cls)}


def _try(kind: str, factory: Callable[..., Any]) -> str:
    """Make one and let it work, on a few numbers; what it does wrong, or nothing."""
    import torch

    given = stand_ins(kind)
    made = getattr(factory, "from_config", factory)(**given)
    with torch.random.fork_rng(devices=()):
        return _TRIALS[kind](made)


def _of_shape(shape: tuple[int, ...], wanted: tuple[int, ...], what: str) -> Callable[[Any], str]:
    """A trial of what maps a tensor of one shape to one of another."""

    def trial(made: Any) -> str:
        import torch

        with torch.no_grad():
            result = made(torch.linspace(-1.0, 1.0, math.prod(shape)).reshape(shape))
        found = tuple(result.shape) if isinstance(result, torch.Tensor) else None
        if found == wanted:
            return ""
        gives = f"a tensor of shape {found}" if found is not None else f"a {type(result).__name__}"
        return f"gives {gives} for {what} of shape {shape}: it must give shape {wanted}"

    return trial


def _of_either(*trials: Callable[[Any], str]) -> Callable[[Any], str]:
    """A trial that is passed by what raises nothing in one of them, as rules may be for layers of one sort."""

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
        value.backward()  # type: ignore[no-untyped-call]
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
            return f"gives factor({progress}) = {factor}: it must be a finite number >= 0"
    return ""


#: kind -> what one is tried with. Not a dropout, which may be for images only, nor data and a model, which are tried when
#: they are chosen
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
