"""Finding the modules of a model that draw random numbers, by watching the model run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from regtorch.errors import NothingBoundError, SettingError, as_one_line
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.device_check import devices_named
from regtorch.mc.dropouts import cannot_draw, has_dropout, is_counted, is_dropout, noise_of
from regtorch.mc.hidden_noise import HiddenNoise
from regtorch.mc.mode_settings import as_before, mode_settings, own_train
from regtorch.mc.model_state import check_materialized, unchanged, unwrapped
from regtorch.mc.module_calls import exclusively, module_calls
from regtorch.mc.needed import Needed, keeps_statistics
from regtorch.mc.own_generators import own_generators
from regtorch.mc.sampler import Sampler
from regtorch.mc.training_effects import TrainingEffects
from regtorch.mc.watch import PYTHON_RANDOM, ModeSettings, Watch, saved_random_state, training_mode_of
from regtorch.tensor_ops.arguments import check_module

#: which of the noise that was found is sampled: a glob over module names, a class, a function of (name, module), or several
Only = str | type[nn.Module] | Callable[[str, nn.Module], bool] | Iterable[object] | None

_NORMALIZATION = (nn.modules.batchnorm._NormBase,)


@dataclass(frozen=True)
class NoiseSite:
    """One module that draws random numbers in its forward pass.

    Args:
        name: its qualified name in the model.
        kind: its class.
        operations: the random operations that were seen in it.
        sampled: whether each sample draws new ones.
        reason: why not, else empty.
    """

    name: str
    kind: str
    operations: tuple[str, ...]
    sampled: bool = True
    reason: str = ""


@dataclass(frozen=True)
class NoiseFound:
    """What was found in a model.

    Args:
        sites: the modules that draw.
        active: the modules that are in training mode while samples are drawn.
        python_random: those that draw from Python's or NumPy's generator.
        settings: what modules' own `train` sets.
    """

    sites: tuple[NoiseSite, ...]
    active: frozenset[nn.Module]
    python_random: frozenset[nn.Module]
    settings: ModeSettings = field(default_factory=dict)


#: passes in which what draws by chance is looked for
_TRIALS = 8
_NORMALIZING = "it draws only when normalization is in training mode"
_UNSEEN = "it does not draw by torch's functions in the thread that calls the model"
_STAYS_SILENT = "it draws only when other modules are in training mode"


class NoiseSearch:
    """Watches a model on a few rows.

    Args:
        model: any module.
        sampler: makes noise neutral, to see what a module does besides.
        batch: a few rows.
        warn: called with each warning.
    """

    def __init__(self, model: nn.Module, sampler: Sampler, batch: BatchArgs, warn: Callable[[str], None]) -> None:
        check_materialized(model)
        self.model, self.sampler, self.batch, self.warn = model, sampler, batch, warn
        self.names: dict[nn.Module, str] = {}
        for name, module in model.named_modules():
            self.names.setdefault(module, name)
        self.known = frozenset(m for m in model.modules() if is_dropout(m))
        self.settings = mode_settings(model)
        self.effects = TrainingEffects(model, sampler, batch, self.settings)
        sampler.generators = own_generators(model)
        #: what was in training mode when the model was watched
        self.trained: list[nn.Module] = []

    def find(self, only: Only = None) -> NoiseFound:
        """Everything that draws, and whether it can be sampled.

        Raises:
            NothingBoundError: `only` matches nothing that was found.
        """
        seen = self._watched_in_training_mode()
        search = Needed(self._watch, seen, self.known, self.trained)
        needed = search.search()
        refused = self._refused(needed, seen)
        chosen = _chosen(only, {m: self.names[m] for m in seen.draws} | {m: self.names[m] for m in self.known})
        if only is not None and not any(m in chosen for m in seen.draws):
            found = ", ".join(self._listed(seen)) or "nothing"
            raise NothingBoundError(
                f"only={_shown(only)} matches no noise of {type(self.model).__name__}; it has: {found}"
            )
        active = self._drawing(search, needed, refused, chosen)
        unused = self._unused(refused)
        self._warn_of_refused({module: reason for module, reason in refused.items() if module not in unused})
        refused |= dict.fromkeys(unused, "it is not run in eval mode")
        if only is not None:
            self._check_left_out(active, chosen)
        sites = [
            NoiseSite(
                self.names[m],
                type(m).__name__,
                tuple(sorted(operations)),
                m in chosen and m not in refused,
                refused.get(m, "" if m in chosen else f"only={_shown(only)} leaves it out"),
            )
            for m, operations in seen.draws.items()
        ]
        python = frozenset(m for m, ops in seen.draws.items() if ops & PYTHON_RANDOM and m in active)
        unseen = self._unseen(seen)
        sites += [
            NoiseSite(self.names[m], type(m).__name__, ("unseen",), False, reason) for m, reason in unseen.items()
        ]
        return NoiseFound(tuple(sites), active, python, self.settings)

    def _unseen(self, seen: Watch) -> dict[nn.Module, str]:
        """What draws otherwise than by its modules' modes and by generators that are known -> how; with a warning."""
        unseen = self._of_other_modes(seen)
        python = any(operations & PYTHON_RANDOM for operations in seen.draws.values())
        hidden = HiddenNoise(self.model, self.batch, self.trained, lambda: self._modes(self.trained), python).found()
        if hidden is not None:
            unseen[hidden] = _UNSEEN
        for kind, reason in {type(module).__name__: reason for module, reason in unseen.items()}.items():
            remedy = (
                "let it draw by torch's functions, in the thread that calls the model"
                if reason == _UNSEEN
                else "let it draw where its own self.training is True"
            )
            self.warn(f"noise of {kind} is left out (not sampled): {reason}; {remedy}")
        return unseen

    def _of_other_modes(self, seen: Watch) -> dict[nn.Module, str]:
        """What draws only when normalization is in training mode, too, or after `train()` alone."""
        own = own_train(self.model)
        if not own and len(self.trained) == len(self.names):
            return {}
        try:
            with as_before(self.model):
                if own:
                    self.model.train()
                watch = self._watch(self.names, really=bool(own))
        except Exception:  # as batch normalization refuses single rows
            return {}
        new = [m for m in watch.draws if m not in seen.draws and m not in self.known]
        if new:  # was it by chance that they did not draw?
            often = [self._watch(self.trained, number).draws for number in range(1, _TRIALS)]
            new = [m for m in new if not any(m in draws for draws in often)]
        reason = "it draws only after train() of the model, which does more than set modes" if own else _NORMALIZING
        return dict.fromkeys(new, reason)

    def _modes(self, active: Iterable[nn.Module]) -> AbstractContextManager[None]:
        return training_mode_of(self.model, active, self.settings)

    def _drawing(
        self,
        search: Needed,
        needed: dict[nn.Module, list[nn.Module]],
        refused: dict[nn.Module, str],
        chosen: set[nn.Module],
    ) -> frozenset[nn.Module]:
        """What is in training mode while samples are drawn; `refused` gets what draws only with more than that."""
        while True:
            sampled = [m for m in needed if m in chosen and m not in refused]
            active = frozenset(self.known & chosen).union(*([m, *needed[m]] for m in sampled))
            silent = [] if active == search.suffices else search.silent(active, sampled)
            if not silent:
                return active
            for module in silent:  # it drew thanks to what others need, and those are not sampled
                further = search.further(module, active)
                if not further:
                    refused[module] = _STAYS_SILENT
                    continue
                python = bool(search.seen.draws[module] & PYTHON_RANDOM)
                if reason := self.effects.of(active, active.union(further), python):
                    refused[module] = reason
                needed[module] = [*needed[module], *further]

    def _listed(self, seen: Watch) -> list[str]:
        return [f"{self.names[m] or 'the model itself'} ({type(m).__name__})" for m in seen.draws]

    def _watch(self, active: Iterable[nn.Module], seed: int = 0, really: bool = False) -> Watch:
        """One pass with these modules in training mode; really: all as they are."""
        batch = self.batch.clone()
        with unchanged(self.model), nullcontext() if really else self._modes(active), saved_random_state(seed):
            watch = Watch(self.model)
            try:
                with module_calls(watch.run), watch:
                    self.model(*batch.args, **batch.kwargs)
            finally:
                for generator, state in watch.generators.items():
                    generator.set_state(state)
        return watch

    def _watched_in_training_mode(self) -> Watch:
        trained = [m for m in self.model.modules() if not isinstance(m, _NORMALIZATION) and not keeps_statistics(m)]
        self.trained = trained
        try:
            return self._watch(trained)
        except Exception as error:
            first = error
        # a model may ask for targets in training mode, or refuse it: its parts are tried without their parents
        parts = [m for m in trained if not list(m.children())]
        for attempt in (parts, list(self.known)):
            try:
                watch = self._watch(attempt)
            except Exception:
                continue
            self.trained = attempt
            self.warn(
                f"{type(self.model).__name__} could not be run with all of it in training mode ({as_one_line(first)}): noise "
                "that is drawn only there is left out (not sampled); regtorch.mc.count_as_dropout makes a class count"
            )
            return watch
        raise first

    def _refused(self, needed: dict[nn.Module, list[nn.Module]], seen: Watch) -> dict[nn.Module, str]:
        """Drawing module -> why its noise cannot be sampled."""
        refused = {}
        doubtful = [m for m in needed if not is_counted(m) and (noise_of(m) is None or needed[m])]
        if not doubtful:
            return {}
        fixed = frozenset(m for m in needed if m not in doubtful) | self.known
        python = {m: bool(seen.draws[m] & PYTHON_RANDOM) for m in doubtful}
        together = fixed.union(*([m, *needed[m]] for m in doubtful))
        if self.effects.of(fixed, together, any(python.values())) or seen.normalizing & set(doubtful):
            for module in doubtful:
                reason = self.effects.of(fixed, fixed.union([module, *needed[module]]), python[module])
                if not reason and seen.normalizing & {module, *needed[module]}:
                    reason = "it normalizes by the batch"
                if reason:
                    refused[module] = reason
        return refused

    def _unused(self, refused: Collection[nn.Module]) -> set[nn.Module]:
        """Which of these modules evaluation does not run, such as those of an auxiliary head."""
        if not refused:
            return set()
        called = self._watch(self.known).called
        return {module for module in refused if module not in called}

    def _warn_of_refused(self, refused: dict[nn.Module, str]) -> None:
        for kind, reason in {type(module).__name__: reason for module, reason in refused.items()}.items():
            if reason == _STAYS_SILENT:
                self.warn(
                    f"{kind} is left out (not sampled): {reason}, and not all of those can be; let it draw where its own "
                    "self.training is True"
                )
                continue
            self.warn(
                f"{kind} does more in training mode than drop ({reason}): its noise is left out (not sampled); "
                f"regtorch.mc.count_as_dropout({kind}) makes it count all the same"
            )

    def _check_left_out(self, active: frozenset[nn.Module], chosen: set[nn.Module]) -> None:
        """Refuse to leave out what draws in eval mode, too."""
        draws = self._watch(active).draws
        for module in draws.keys() - chosen - active:
            when = "in eval mode too" if module in self._watch(()).draws else "as soon as what is chosen does"
            raise SettingError(
                f"{self.names[module] or type(self.model).__name__} draws random numbers {when}: it cannot be left out"
            )


def sampled_modules(model: nn.Module, *inputs: Any, **keywords: Any) -> tuple[NoiseSite, ...]:
    """The modules of a model that draw random numbers on a batch, and whether `MCPredictor` samples them.

    Args:
        model: any module.
        *inputs: a batch, as the model takes it.
        **keywords: further arguments of the model.

    Raises:
        SettingError: no module, or one with lazy layers that have not run yet.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5))
        >>> [(site.name, site.kind, site.sampled) for site in sampled_modules(model, torch.zeros(2, 4))]
        [('1', 'Dropout', True)]
    """
    check_module(model)
    batch = BatchArgs(inputs, keywords)
    with exclusively(), torch.inference_mode(False), torch.no_grad(), devices_named(model, batch.tensors):
        search = NoiseSearch(unwrapped(model), Sampler(0, True), batch, lambda text: warnings.warn(text, stacklevel=4))
        return search.find().sites


def has_noise(model: nn.Module, *inputs: Any, **keywords: Any) -> bool:
    """Whether a model has anything to sample: a dropout, or, where its code is not known, noise seen on a batch.

    Example:
        >>> has_noise(nn.Linear(4, 3), torch.zeros(2, 4)), has_noise(nn.Dropout(0.5), torch.zeros(2, 4))
        (False, True)
    """
    if has_dropout(model):
        return True
    return not cannot_draw(model) and any(site.sampled for site in sampled_modules(model, *inputs, **keywords))


def _chosen(only: Only, names: dict[nn.Module, str]) -> set[nn.Module]:
    if only is None:
        return set(names)
    if isinstance(only, str):
        return {m for m, name in names.items() if fnmatchcase(name, only)}
    if isinstance(only, type):
        return {m for m in names if isinstance(m, only)}
    if isinstance(only, nn.Module):
        inside = set(only.modules())
        return {m for m in names if m in inside}
    if callable(only):
        return {m for m, name in names.items() if only(name, m)}
    if isinstance(only, Iterable):
        parts: Any = only
        return set().union(*(_chosen(part, names) for part in parts))
    raise SettingError(
        f"only={_shown(only)} is not allowed: it must be a glob over module names, a class, a function of (name, module), "
        "or several of them"
    )


def _shown(only: Any) -> str:
    return only if isinstance(only, str) else getattr(only, "__name__", repr(only))
