"""Search instead of a grid, by Optuna: what to try next is drawn from what was found so far."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from regtorch.cli.engine import Engine, Job
from regtorch.cli.point import has_ended, point
from regtorch.cli.search_database import check_database, chosen
from regtorch.cli.search_plan import Dimension, SearchPlan
from regtorch.errors import DataError
from regtorch.files import replaced
from regtorch.overrides import is_for_hydra
from regtorch.study.leaderboard import ORDERS, inside, results
from regtorch.untrusted import read_text

#: until so many trials have ended none is pruned, and none within this share of its epochs
_TRIALS_BEFORE_PRUNING, _SHARE_BEFORE_PRUNING = 5, 0.2
#: what Optuna keeps of a trial: which sweep runs it; and of a search: what all its trials have in common
_SWEEP, _FIXED = "sweep", "fixed"


@dataclass(frozen=True)
class Trials:
    """Where a search's trials are kept, as a run in another process needs it to report and be pruned.

    Args:
        storage: a database's URL; ``${oc.env:NAME}`` in it is filled in there.
        study: the name there.
        objective: what the search is for; reported is the validation's accuracy, or loss for anything else.
        epochs: of a whole training.
    """

    storage: str
    study: str
    objective: str
    epochs: int

    def pruner(self, number: int) -> Any:
        """Reports a trial's values behind each epoch, and ends it where it is worse than the median of the others."""
        from omegaconf import OmegaConf

        optuna = quiet_optuna()
        warmup = math.ceil(_SHARE_BEFORE_PRUNING * self.epochs)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=warmup)
        storage = OmegaConf.create({"url": self.storage}).url
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner)
        kept = study.get_trials(deepcopy=False)[number]
        trial = optuna.trial.Trial(study, kept._trial_id)
        name = "accuracy" if self.objective.endswith("accuracy") else "loss"

        def prune_reason(epochs: int, values: Mapping[str, float]) -> str | None:
            value = values.get(f"val_{name}", values.get(name))
            if value is None:
                return None
            if epochs not in study.get_trials(deepcopy=False)[number].intermediate_values:  # a run that went on
                trial.report(value, epochs)
            if not trial.should_prune():
                return None
            return f"val_{name} {value:.4g} behind epoch {epochs} is worse than the median of earlier trials"

        return prune_reason


def search(
    engine: Engine,
    plan: SearchPlan,
    folder: Path,
    points: dict[int, Mapping[str, str]],
    fixed: Sequence[str],
    epochs: int,
) -> None:
    """Run trials until there are as many as asked for; those that were begun by a sweep that was stopped come first.

    Args:
        engine: runs them.
        plan: the search.
        folder: of the sweep.
        points: filled in: number of a trial -> its choices.
        fixed: overrides that all trials have.
        epochs: of a whole training.
    """
    optuna = quiet_optuna()
    storage, name = _place(plan, folder)
    directions = _directions(plan)
    study = _with_retries(
        storage,
        lambda: optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True),
    )
    if study.user_attrs.get(_FIXED) is None:
        study.set_user_attr(_FIXED, _settings(plan, fixed))
    _check_settings(study, name, plan, fixed)  # another sweep may have begun it meanwhile
    sweep = _name_of_sweep(plan, folder, new=True)
    begun = _running(study, plan, sweep)
    if all(has_ended(folder / str(trial.number), prunable=True) for trial in begun):
        for trial in begun:  # a sweep was stopped between the end of all of them and its saying so
            _report_result(study, plan, trial.number, results(folder / str(trial.number)))
    task = point
    # Optuna prunes by one objective only, and how sparse the weights will be no epoch tells
    if plan.pruner != "none" and len(directions) == 1 and plan.objectives[0] != "sparsity":
        task = partial(point, trials=Trials(plan.storage_text or storage, name, plan.objectives[0], epochs))
    while batch := _next(study, plan, sweep):
        jobs = []
        for trial in batch:
            points[trial.number] = chosen(plan.space, trial.params, trial.number)
            jobs.append(Job(trial.number, (*fixed, *(f"{key}={value}" for key, value in points[trial.number].items()))))
        engine.run(jobs, task, lambda number: has_ended(folder / str(number), prunable=True))
        for trial in batch:
            _report_result(study, plan, trial.number, results(folder / str(trial.number)))


def known_trials(plan: SearchPlan, folder: Path, fixed: Sequence[str]) -> tuple[dict[int, Mapping[str, str]], int]:
    """The choices of the trials that a search has begun in this folder before, and how many there are in others.

    Raises:
        DataError: the database cannot be reached, or another search has this name there.
    """
    storage, name = _place(plan, folder)
    if plan.storage is None and not (folder / "search.db").is_file():
        return {}, 0
    optuna = quiet_optuna()
    if name not in _with_retries(storage, lambda: optuna.get_all_study_names(storage)):
        return {}, 0
    study = _with_retries(storage, lambda: optuna.load_study(study_name=name, storage=storage))
    kept = _with_retries(storage, lambda: study.get_trials(deepcopy=False))
    if [direction.name.lower() for direction in study.directions] != _directions(plan):
        raise DataError(
            f"hparams_search.study={name} is a search for {len(study.directions)} objectives of its own: take another name"
        )
    searched = next((trial.params for trial in kept if trial.params), None)
    if searched is not None and set(searched) != {d.key for d in plan.space}:
        raise DataError(
            f"hparams_search.study={name} searches {', '.join(sorted(searched))}: take another name, or the same space"
        )
    _check_settings(study, name, plan, fixed)
    sweep = _name_of_sweep(plan, folder)
    own = [t for t in kept if plan.storage is None or t.user_attrs.get(_SWEEP) == sweep]
    return {trial.number: chosen(plan.space, trial.params, trial.number) for trial in own}, len(kept) - len(own)


#: what differs from machine to machine, and not what is searched
_OF_A_MACHINE = (
    "hparams_search",
    "data.path=",
    "data.workers=",
    "trainer=",
    "trainer.accelerator=",
    "trainer.devices=",
)


def _settings(plan: SearchPlan, fixed: Sequence[str]) -> list[str]:
    """What the trials of a search have in common, wherever they are run."""
    given = [o for o in fixed if not is_for_hydra(o) and not o.lstrip("+").startswith(_OF_A_MACHINE)]
    return [*(dimension.words() for dimension in plan.space), *sorted(given)]


def _check_settings(study: Any, name: str, plan: SearchPlan, fixed: Sequence[str]) -> None:
    settings = study.user_attrs.get(_FIXED)
    if settings is not None and settings != _settings(plan, fixed):
        said = " ".join(map(str, settings)) if isinstance(settings, list) else str(settings)
        raise DataError(f"hparams_search.study={name} is a search with {said}: take another name, or say just that")


def _name_of_sweep(plan: SearchPlan, folder: Path, *, new: bool = False) -> str:
    """A name that goes with the folder where it is moved to, for a database that several sweeps share."""
    path = folder / "search.id"
    if new and plan.storage is not None and not path.is_file():
        with replaced(path) as temporary:
            temporary.write_text(uuid4().hex, encoding="utf-8")
    return read_text(path, 1000) if path.is_file() else ""


def _running(study: Any, plan: SearchPlan, sweep: str) -> list[Any]:
    """The trials that this sweep has begun and not ended."""
    state = quiet_optuna().trial.TrialState.RUNNING
    running = [t for t in study.get_trials(deepcopy=False) if t.state == state]
    return [t for t in running if plan.storage is None or t.user_attrs.get(_SWEEP) == sweep]


def _directions(plan: SearchPlan) -> list[str]:
    return ["maximize" if ORDERS[objective] else "minimize" for objective in plan.objectives]


def _place(plan: SearchPlan, folder: Path) -> tuple[str, str]:
    if plan.storage is not None:
        return plan.storage, plan.study or folder.name
    from sqlalchemy import URL

    check_database(folder / "search.db")
    # whatever is in the folder's name, which may also be another one when the search goes on
    return URL.create("sqlite", database=str(folder / "search.db")).render_as_string(), plan.study or "search"


def _with_retries(storage: str, action: Callable[[], Any]) -> Any:
    """What a database answers; asked again where it fails, as another machine may be making the same tables."""
    for waits in (0.5, 2.0, None):
        try:
            return action()
        except Exception as error:  # whatever a database's driver raises
            if waits is None:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise DataError(
                    f"hparams_search.storage={_without_password(storage)}: the trials cannot be kept there ({reason})"
                ) from error
            time.sleep(waits)
    raise AssertionError


def _without_password(storage: str) -> str:
    """A database's URL as it may be shown.

    Example:
        >>> _without_password("postgresql://me:se@cret@host/trials"), _without_password("mysql://host/t?user=me&password=it")
        ('postgresql://me:***@host/trials', 'mysql://host/t?user=me&password=***')
    """
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", storage))


def pareto_front(points: Sequence[tuple[int, Sequence[float]]], higher_is_better: Sequence[bool]) -> list[int]:
    """The points than which none is better in one objective and as good in all others.

    Example:
        >>> pareto_front([(0, (0.9, 0.2)), (1, (0.8, 0.9)), (2, (0.8, 0.1))], higher_is_better=[True, True])
        [0, 1]
    """
    signed = {n: [v if up else -v for v, up in zip(values, higher_is_better, strict=True)] for n, values in points}

    def beaten(one: list[float]) -> bool:
        return any(all(a >= b for a, b in zip(other, one, strict=True)) and other != one for other in signed.values())

    return [number for number, values in signed.items() if not beaten(values)]


def quiet_optuna() -> Any:
    """Optuna, without its lines for each trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _next(study: Any, plan: SearchPlan, sweep: str) -> list[Any]:
    """The trials to run next, as many as may run side by side."""
    batch = _running(study, plan, sweep)[: plan.parallel]
    known = len(study.get_trials(deepcopy=False))
    for number in range(known, min(plan.trials, known + plan.parallel - len(batch))):
        batch.append(_start_trial(study, plan, sweep, number))
    return batch


def _start_trial(study: Any, plan: SearchPlan, sweep: str, number: int) -> Any:
    """Draw a trial and keep it, whole: Optuna's own ``ask`` writes one parameter after the other."""
    optuna = quiet_optuna()
    # a sampler of its own for each trial: a search that was stopped draws what it would have drawn
    sampler = optuna.samplers.TPESampler(
        seed=(plan.seed * 1_000_003 + number) % 2**32,
        n_startup_trials=plan.random_trials,
        constant_liar=plan.parallel > 1,
    )
    scratch = optuna.create_study(directions=study.directions, sampler=sampler)
    scratch.add_trials(study.get_trials())
    distributions = {d.key: _distribution(optuna, d) for d in plan.space}
    drawn = scratch.ask(distributions).params
    states = optuna.trial.TrialState
    whole = optuna.trial.create_trial(
        state=states.RUNNING, params=drawn, distributions=distributions, user_attrs={_SWEEP: sweep}
    )
    kept = study._storage.create_new_trial(study._study_id, template_trial=whole)
    return study._storage.get_trial(kept)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _report_result(study: Any, plan: SearchPlan, number: int, found: Mapping[str, Any]) -> None:
    states = quiet_optuna().trial.TrialState
    values = [inside(found, objective) for objective in plan.objectives]
    whole = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    if found.get("status") == "completed" and whole:
        study.tell(number, values)
    elif found.get("status") == "pruned":
        study.tell(number, state=states.PRUNED)
    else:
        study.tell(number, state=states.FAIL)
