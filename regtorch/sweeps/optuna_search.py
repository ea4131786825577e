"""Hyperparameter search with Optuna: each trial is sampled given the results of earlier trials."""

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

from regtorch.compat.optuna_internals import continued_trial
from regtorch.config.search_space import Dimension, SearchPlan
from regtorch.errors import DataError
from regtorch.study.leaderboard import ORDERS, inside, results
from regtorch.sweeps.launcher import Engine, Job
from regtorch.sweeps.search_database import check_database, chosen
from regtorch.sweeps.trial import has_ended, point
from regtorch.system.files import replaced
from regtorch.system.quoting import is_for_hydra
from regtorch.system.untrusted import read_text

#: no pruning before this many trials have ended, nor within this share of a trial's epochs
_TRIALS_BEFORE_PRUNING, _SHARE_BEFORE_PRUNING = 5, 0.2
#: Optuna user attributes: of a trial, the sweep that runs it; of a study, the settings that all its trials share
_SWEEP, _FIXED = "sweep", "fixed"


@dataclass(frozen=True)
class Trials:
    """The storage of a search's trials, so that a run in another process can report values and be pruned.

    Args:
        storage: a database's URL; ``${oc.env:NAME}`` in it is resolved in the run's process.
        study: the study's name in the database.
        objective: the search's objective; runs report the validation accuracy for an accuracy, else the validation loss.
        epochs: epochs of a complete training.
    """

    storage: str
    study: str
    objective: str
    epochs: int

    def pruner(self, number: int) -> Any:
        """Return a pruner that reports a trial's value after each epoch and prunes it if it is worse than the median."""
        from omegaconf import OmegaConf

        optuna = quiet_optuna()
        warmup = math.ceil(_SHARE_BEFORE_PRUNING * self.epochs)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=warmup)
        storage = OmegaConf.create({"url": self.storage}).url
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner)
        kept = study.get_trials(deepcopy=False)[number]
        trial = continued_trial(study, kept)
        name = "accuracy" if self.objective.endswith("accuracy") else "loss"

        def prune_reason(epochs: int, values: Mapping[str, float]) -> str | None:
            value = values.get(f"val_{name}", values.get(name))
            if value is None:
                return None
            if epochs not in study.get_trials(deepcopy=False)[number].intermediate_values:  # not after a resume
                trial.report(value, epochs)
            if not trial.should_prune():
                return None
            return f"val_{name} {value:.4g} after epoch {epochs} is worse than the median of earlier trials"

        return prune_reason


def search(
    engine: Engine,
    plan: SearchPlan,
    folder: Path,
    points: dict[int, Mapping[str, str]],
    fixed: Sequence[str],
    epochs: int,
) -> None:
    """Run trials until the requested number is reached, unfinished trials of an interrupted sweep first.

    Args:
        engine: runs the trials.
        plan: the search.
        folder: the sweep's folder.
        points: output: number of a trial -> its choices.
        fixed: overrides that all trials share.
        epochs: epochs of a complete training.
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
    _check_settings(study, name, plan, fixed)  # another sweep may have created it meanwhile
    sweep = _sweep_id(plan, folder, new=True)
    running = _running(study, plan, sweep)
    if all(has_ended(folder / str(trial.number), prunable=True) for trial in running):
        for trial in running:  # the sweep was stopped after they ended, but before it reported their results
            _report_result(study, plan, trial.number, results(folder / str(trial.number)))
    task = point
    # Optuna prunes by one objective only, and epochs do not report the sparsity
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
    """Return the choices of this folder's earlier trials, and the number of the search's trials in other folders.

    Raises:
        DataError: the database cannot be reached, or contains another search of this name.
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
            f"hparams_search.study={name} is not allowed: it is a search with other objectives ({len(study.directions)}); "
            "take another name"
        )
    searched = next((trial.params for trial in kept if trial.params), None)
    if searched is not None and set(searched) != {d.key for d in plan.space}:
        raise DataError(
            f"hparams_search.study={name} is not allowed: it searches {', '.join(sorted(searched))}; take another name, or "
            "the same space"
        )
    _check_settings(study, name, plan, fixed)
    sweep = _sweep_id(plan, folder)
    own = [t for t in kept if plan.storage is None or t.user_attrs.get(_SWEEP) == sweep]
    return {trial.number: chosen(plan.space, trial.params, trial.number) for trial in own}, len(kept) - len(own)


#: settings that may differ between the machines that share a search
_OF_A_MACHINE = (
    "hparams_search",
    "data.path=",
    "data.workers=",
    "trainer=",
    "trainer.accelerator=",
    "trainer.devices=",
)


def _settings(plan: SearchPlan, fixed: Sequence[str]) -> list[str]:
    """Return the settings that all trials of a search share, independent of the machine."""
    given = [o for o in fixed if not is_for_hydra(o) and not o.lstrip("+").startswith(_OF_A_MACHINE)]
    return [*(dimension.words() for dimension in plan.space), *sorted(given)]


def _check_settings(study: Any, name: str, plan: SearchPlan, fixed: Sequence[str]) -> None:
    settings = study.user_attrs.get(_FIXED)
    if settings is not None and settings != _settings(plan, fixed):
        text = " ".join(map(str, settings)) if isinstance(settings, list) else str(settings)
        raise DataError(
            f"hparams_search.study={name} is not allowed: it is a search with {text}; take another name, or the same overrides"
        )


def _sweep_id(plan: SearchPlan, folder: Path, *, new: bool = False) -> str:
    """Return the sweep's id, stored in its folder so that it survives a move, for a database that several sweeps share."""
    path = folder / "search.id"
    if new and plan.storage is not None and not path.is_file():
        with replaced(path) as temporary:
            temporary.write_text(uuid4().hex, encoding="utf-8")
    return read_text(path, 1000) if path.is_file() else ""


def _running(study: Any, plan: SearchPlan, sweep: str) -> list[Any]:
    """Return the trials that this sweep has started and not finished."""
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
    # the folder's name may have any characters, and may have changed when the search is resumed
    return URL.create("sqlite", database=str(folder / "search.db")).render_as_string(), plan.study or "search"


def _with_retries(storage: str, action: Callable[[], Any]) -> Any:
    """Run a database action; retry if it fails, because another machine may be creating the same tables."""
    for waits in (0.5, 2.0, None):
        try:
            return action()
        except Exception as error:  # database drivers raise various exceptions
            if waits is None:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise DataError(
                    f"hparams_search.storage={_without_password(storage)}: the trials cannot be stored there ({reason})"
                ) from error
            time.sleep(waits)
    raise AssertionError


def _without_password(storage: str) -> str:
    """Remove the password from a database's URL.

    Example:
        >>> _without_password("postgresql://me:se@cret@host/trials"), _without_password("mysql://host/t?user=me&password=it")
        ('postgresql://me:***@host/trials', 'mysql://host/t?user=me&password=***')
    """
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", storage))


def pareto_front(points: Sequence[tuple[int, Sequence[float]]], higher_is_better: Sequence[bool]) -> list[int]:
    """Return the points that no other point dominates (better in one objective and at least as good in all others).

    Example:
        >>> pareto_front([(0, (0.9, 0.2)), (1, (0.8, 0.9)), (2, (0.8, 0.1))], higher_is_better=[True, True])
        [0, 1]
    """
    optuna = quiet_optuna()
    study = optuna.create_study(directions=["maximize" if up else "minimize" for up in higher_is_better])
    study.add_trials([optuna.trial.create_trial(values=values, user_attrs={"point": n}) for n, values in points])
    return sorted(trial.user_attrs["point"] for trial in study.best_trials)


def quiet_optuna() -> Any:
    """Import Optuna without its log line per trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _next(study: Any, plan: SearchPlan, sweep: str) -> list[Any]:
    """Return the trials to run next, at most ``plan.parallel``."""
    batch = _running(study, plan, sweep)[: plan.parallel]
    known = len(study.get_trials(deepcopy=False))
    for number in range(known, min(plan.trials, known + plan.parallel - len(batch))):
        batch.append(_start_trial(study, plan, sweep, number))
    return batch


def _start_trial(study: Any, plan: SearchPlan, sweep: str, number: int) -> Any:
    """Sample a trial and store it atomically; Optuna's ``ask`` writes one parameter after the other."""
    optuna = quiet_optuna()
    # a new sampler for each trial, so that a resumed search samples the same values
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
    template = optuna.trial.create_trial(
        state=states.RUNNING, params=drawn, distributions=distributions, user_attrs={_SWEEP: sweep}
    )
    kept = study._storage.create_new_trial(study._study_id, template_trial=template)
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
    finite = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    if found.get("status") == "completed" and finite:
        study.tell(number, values)
    elif found.get("status") == "pruned":
        study.tell(number, state=states.PRUNED)
    else:
        study.tell(number, state=states.FAIL)
