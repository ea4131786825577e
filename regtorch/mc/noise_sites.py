"""Finding the modules of a model that draw random numbers, by watching the model run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from regtorch.arguments import check_module
from regtorch.errors import NothingBoundError, SettingError, as_one_line
from regtorch.mc.allclose_scaled import same_values
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.device_check import devices_named
from regtorch.mc.dropouts import has_dropout, is_counted, is_dropout, is_of_libraries, noise_of
from regtorch.mc.model_state import check_materialized, unchanged, unwrapped
from regtorch.mc.module_calls import exclusively, module_calls
from regtorch.mc.sampler import Sampler
from regtorch.mc.watch import PYTHON_RANDOM, Watch, saved_random_state, training_mode_of

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
    """

    sites: tuple[NoiseSite, ...]
    active: frozenset[nn.Module]
    python_random: frozenset[nn.Module]


_OTHER_OUTPUT = "its output differs also without the noise"


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

    def find(self, only: Only = None) -> NoiseFound:
        """Everything that draws, and whether it can be sampled.

        Raises:
            NothingBoundError: `only` matches nothing that was found.
        """
        seen = self._watched_in_training_mode()
        needed = self._needed(seen)
        refused = self._refused(needed, seen)
        chosen = _chosen(only, {m: self.names[m] for m in seen.draws} | {m: self.names[m] for m in self.known})
        if only is not None and not any(m in chosen for m in seen.draws):
            found = ", ".join(self._listed(seen)) or "nothing"
            raise NothingBoundError(
                f"only={_shown(only)} matches no noise of {type(self.model).__name__}; it has: {found}"
            )
        unused = self._unused(refused)
        self._warn_of_refused({module: reason for module, reason in refused.items() if module not in unused})
        refused |= dict.fromkeys(unused, "it is not run in eval mode")
        active = set(self.known & chosen)
        for module, callers in needed.items():
            if module in chosen and module not in refused:
                active |= {module, *callers}
        if only is not None:
            self._check_left_out(frozenset(active), chosen)
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
        return NoiseFound(tuple(sites), frozenset(active), python)

    def _listed(self, seen: Watch) -> list[str]:
        return [f"{self.names[m] or 'the model itself'} ({type(m).__name__})" for m in seen.draws]

    def _watch(self, active: Iterable[nn.Module]) -> Watch:
        """One pass with these modules in training mode."""
        batch = self.batch.clone()
        with unchanged(self.model), training_mode_of(self.model, active), saved_random_state():
            watch = Watch(self.model)
            try:
                with module_calls(watch.run), watch:
                    self.model(*batch.args, **batch.kwargs)
            finally:
                for generator, state in watch.generators.items():
                    generator.set_state(state)
        return watch

    def _watched_in_training_mode(self) -> Watch:
        trained = [m for m in self.model.modules() if not isinstance(m, _NORMALIZATION) and not _keeps_statistics(m)]
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
            self.warn(
                f"{type(self.model).__name__} could not be run with all of it in training mode ({as_one_line(first)}): noise "
                "that is drawn only there is left out (not sampled); regtorch.mc.count_as_dropout makes a class count"
            )
            return watch
        raise first

    def _needed(self, seen: Watch) -> dict[nn.Module, list[nn.Module]]:
        """Drawing module -> the callers that must be in training mode as well, so that it draws."""
        needed: dict[nn.Module, list[nn.Module]] = {m: _parts_of_script(m) for m in seen.draws}
        callers = {m: list(reversed(seen.callers[m])) for m in seen.draws}
        while True:
            active = {m for module, others in needed.items() for m in (module, *others)}
            try:
                draws = self._watch(active | self.known).draws
            except Exception:
                draws = {}
            missing = [m for m in seen.draws if not draws.get(m, set()) >= seen.draws[m] and callers[m]]
            if not missing:
                return needed
            for module in missing:
                needed[module].append(callers[module].pop(0))

    def _refused(self, needed: dict[nn.Module, list[nn.Module]], seen: Watch) -> dict[nn.Module, str]:
        """Drawing module -> why its noise cannot be sampled."""
        refused = {}
        doubtful = [m for m in needed if not is_counted(m) and (noise_of(m) is None or needed[m])]
        if not doubtful:
            return {}
        fixed = frozenset(m for m in needed if m not in doubtful) | self.known
        python = {m: bool(seen.draws[m] & PYTHON_RANDOM) for m in doubtful}
        together = fixed.union(*([m, *needed[m]] for m in doubtful))
        if self._does_more(fixed, together, any(python.values())) or seen.normalizing & set(doubtful):
            for module in doubtful:
                reason = self._does_more(fixed, fixed.union([module, *needed[module]]), python[module])
                if not reason and seen.normalizing & {module, *needed[module]}:
                    reason = "it normalizes by the batch"
                if reason:
                    refused[module] = reason
        return refused

    def _does_more(self, fixed: frozenset[nn.Module], active: frozenset[nn.Module], python_random: bool) -> str:
        """What changes besides the noise when further modules are in training mode; empty if nothing is seen to."""
        self.sampler.neutral_is_scaled = True
        reason = self._changes(fixed, active, python_random)
        if reason == _OTHER_OUTPUT:  # noise that is not divided by the probability to keep is neutral in another way
            self.sampler.neutral_is_scaled = False
            reason = self._changes(fixed, active, python_random)
        return reason

    def _changes(self, fixed: frozenset[nn.Module], active: frozenset[nn.Module], python_random: bool) -> str:
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        sampler = self.sampler
        results, sampler.neutral, sampler.is_neutral = [], True, True
        updated = ""
        try:
            for modules in (fixed, active):
                copy = self.batch.clone()
                with unchanged(self.model), training_mode_of(self.model, modules), saved_random_state():
                    with sampler.in_place_of(self.model, modules), sampler.drawing():
                        results.append(self.model(*copy.args, **copy.kwargs))
                    changed = [n for n, b in self.model.named_buffers() if not _same_buffer(b, buffers.get(n))]
                    updated = changed[0] if changed and modules is active else updated
        except Exception as error:
            return f"it fails there: {as_one_line(error)}"
        finally:
            sampler.neutral = False
        if updated:
            return f"it updates its buffer {updated}"
        if type(results[0]) is not type(results[1]):
            return f"it gives a {type(results[1]).__name__} instead of a {type(results[0]).__name__}"
        if sampler.is_neutral and not python_random and not same_values(*results):
            return _OTHER_OUTPUT
        return ""

    def _unused(self, refused: Collection[nn.Module]) -> set[nn.Module]:
        """Which of these modules evaluation does not run, such as those of an auxiliary head."""
        if not refused:
            return set()
        called = self._watch(self.known).called
        return {module for module in refused if module not in called}

    def _warn_of_refused(self, refused: dict[nn.Module, str]) -> None:
        for kind, reason in {type(module).__name__: reason for module, reason in refused.items()}.items():
            self.warn(
                f"{kind} does more in training mode than drop ({reason}): its noise is left out (not sampled); "
                f"regtorch.mc.count_as_dropout({kind}) makes it count all the same"
            )

    def _check_left_out(self, active: frozenset[nn.Module], chosen: set[nn.Module]) -> None:
        """Refuse to leave out what draws in eval mode, too."""
        draws = self._watch(active).draws
        for module in draws.keys() - chosen - active:
            raise SettingError(
                f"{self.names[module] or type(self.model).__name__} draws random numbers in eval mode too: it cannot be left out"
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
    if has_dropout(model) or is_of_libraries(model):
        return has_dropout(model)
    return any(site.sampled for site in sampled_modules(model, *inputs, **keywords))


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


def _keeps_statistics(module: nn.Module) -> bool:
    """Whether a scripted module has running statistics, as batch normalization has."""
    return isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.buffers(recurse=False))


def _parts_of_script(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, torch.jit.ScriptModule):
        return []
    return [m for m in module.modules() if m is not module and not _keeps_statistics(m)]


def _same_buffer(found: Any, wanted: Any) -> bool:
    return wanted is not None and found.shape == wanted.shape and torch.equal(found, wanted)
