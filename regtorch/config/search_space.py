"""The plan of a search: its space, objectives and settings, parsed without Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from regtorch.errors import SettingError
from regtorch.registry import near
from regtorch.settings import COUNT, COUNT_OR_ZERO, SEED, Range, one_of
from regtorch.study.leaderboard import ORDERS

#: allowed objectives: the test part must not influence the search
OBJECTIVES = tuple(name for name in ORDERS if not name.startswith("test"))

_TEXT_OR_NULL = Range("a string, or null", lambda v: v is None or (isinstance(v, str) and v != ""))
_SETTINGS: dict[str, Range] = {
    "space": Range(
        "a list such as [KEY=interval(LOW, HIGH)]", lambda v: isinstance(v, Sequence) and not isinstance(v, str)
    ),
    "objectives": Range(
        f"a list of one or more of {', '.join(OBJECTIVES)}",
        lambda v: (
            isinstance(v, Sequence)
            and not isinstance(v, str)
            and len(v) > 0
            and all(name in OBJECTIVES for name in v)
            and len(set(v)) == len(v)
        ),
    ),
    "trials": COUNT,
    "random_trials": COUNT_OR_ZERO,
    "pruner": one_of("median", "none"),
    "parallel": COUNT,
    "seed": SEED,
    "storage": _TEXT_OR_NULL,
    "study": _TEXT_OR_NULL,
}


@dataclass(frozen=True)
class Dimension:
    """One key of a search space: a range of numbers, or choices.

    Args:
        key: a key of the configuration.
        choices: override values; empty for a range.
        low: the smallest value.
        high: the largest value.
        log: whether to sample on a logarithmic scale.
        integer: whether values are integers.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    def words(self) -> str:
        """Return the dimension as a readable override.

        Example:
            >>> Dimension("optimizer.lr", low=0.1, high=1.0, log=True).words(), Dimension("dropout", ("none", "alpha")).words()
            ('optimizer.lr=tag(log, interval(0.1, 1.0))', 'dropout=choice(none, alpha)')
        """
        if self.choices:
            return f"{self.key}=choice({', '.join(self.choices)})"
        inside = f"{'range' if self.integer else 'interval'}({self.low}, {self.high})"
        return f"{self.key}={f'tag(log, {inside})' if self.log else inside}"

    @property
    def ends(self) -> tuple[str, ...]:
        """The values to check: all choices, or both ends of the range."""
        return self.choices or (str(self.low), str(self.high))


@dataclass(frozen=True)
class SearchPlan:
    """A search, from the node ``hparams_search`` and the command line."""

    space: tuple[Dimension, ...]
    objectives: tuple[str, ...]
    trials: int
    random_trials: int
    pruner: str
    parallel: int
    seed: int
    storage: str | None
    study: str | None
    #: the storage as written, with ``${oc.env:NAME}`` unresolved
    storage_text: str | None = None


def check_settings(node: Any) -> None:
    """Check the node ``hparams_search`` of a configuration.

    Raises:
        SettingError: a key is missing, unknown or out of range.
    """
    if not isinstance(node, Mapping):
        raise SettingError(f"hparams_search={node} is not allowed: name an option, such as hparams_search=l1_l2")
    for key, value in node.items():
        if key not in _SETTINGS:
            raise SettingError(f"hparams_search.{key}={value}: there is no such key{near(str(key), _SETTINGS)}")
        _SETTINGS[key].check(f"hparams_search.{key}", value)
    for text in node["space"]:
        dimension(str(text))


def search_plan(
    node: Mapping[str, Any], swept: Sequence[str], given: Sequence[str], storage_text: str | None = None
) -> SearchPlan:
    """Make the plan of a search from its configuration and the swept overrides of the command line.

    Args:
        node: ``hparams_search``.
        swept: overrides such as ``optimizer.lr=interval(1e-4, 1e-2)``, which replace dimensions with the same key.
        given: all keys of the command line; a key with a single value there is not searched.
        storage_text: the storage as written.

    Raises:
        SettingError: a range cannot be parsed, the space is empty, or Optuna is not installed.
    """
    check_settings(node)
    if find_spec("optuna") is None:
        raise SettingError("hparams_search needs a package that is not installed: pip install 'regtorch[optuna]'")
    named = [d for d in map(dimension, map(str, node["space"])) if d.key not in given]
    space = {d.key: d for d in [*named, *map(dimension, swept)]}
    if "seed" in space:
        raise SettingError(
            "seed is not allowed in a search: it would select lucky seeds; compare seeds with scripts/compare.py"
        )
    if not space:
        raise SettingError(
            "hparams_search.space=[] is not allowed: give a range, such as 'regularizer.l2=tag(log, interval(1e-6, 1e-2))'"
        )
    rest = {key: node[key] for key in _SETTINGS if key not in ("space", "objectives")}
    return SearchPlan(tuple(space.values()), tuple(node["objectives"]), **rest, storage_text=storage_text)


def dimension(text: str) -> Dimension:
    """Parse one dimension of a space, in Hydra's syntax for sweeps.

    Raises:
        SettingError: it cannot be parsed.

    Example:
        >>> dimension("regularizer.l2=tag(log, interval(1e-6, 1e-2))")
        Dimension(key='regularizer.l2', choices=(), low=1e-06, high=0.01, log=True, integer=False)
        >>> dimension("model.hidden=choice([64], [128])").choices
        ('[64]', '[128]')
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    wrong = (
        f"hparams_search: {text} is not allowed: it must be KEY=interval(LOW, HIGH), KEY=tag(log, interval(LOW, HIGH)), "
        "KEY=range(LOW, HIGH) or KEY=choice(A, B)"
    )
    try:
        override = OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError) as error:
        raise SettingError(wrong) from error
    if not override.is_sweep_override():
        raise SettingError(wrong)
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        log = "log" in value.tags
        if unknown := sorted(value.tags - {"log"}):
            raise SettingError(f"{wrong}; the only tag is log, not {unknown[0]}")
        if value.start is None or value.end is None or not value.start < value.end or (log and value.start <= 0):
            raise SettingError(f"{wrong}; LOW must be less than HIGH, and above 0 on a logarithmic scale")
        return Dimension(key, (), float(value.start), float(value.end), log)
    if (
        isinstance(value, RangeSweep)
        and value.step == 1
        and isinstance(value.start, int)
        and isinstance(value.stop, int)
    ):
        if value.start >= value.stop - 1 or ("log" in value.tags and value.start < 1):
            raise SettingError(f"{wrong}; it must have at least two numbers, above 0 on a logarithmic scale")
        return Dimension(
            key, (), value.start, value.stop - 1, "log" in value.tags, integer=True
        )  # the stop is exclusive
    try:
        choices = tuple(override.sweep_string_iterator())
    except HydraException as error:
        raise SettingError(wrong) from error
    if getattr(value, "shuffle", False):
        raise SettingError(f"{wrong}; shuffle is not supported")
    if len(set(choices)) < 2:
        raise SettingError(f"{wrong}; it must have at least two choices")
    return Dimension(key, choices)
