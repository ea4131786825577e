"""Which other modules must be in training mode, so that a module draws."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import ceil, log

import torch
from torch import nn

from regtorch.mc.watch import Watch

#: one pass with these modules in training mode, and this seed
Pass = Callable[[Iterable[nn.Module], int], Watch]

#: passes by which it is seen whether a module draws in each one
_TRIALS = 8
#: passes that a module which draws in some of them may need; with more it cannot be found out what it needs
_MOST_PASSES = 24
#: how seldom a module that draws in some passes may be taken for one that does not
_MISTAKEN = 1e-3
#: further modules that one module may need
_MOST = 8


class Needed:
    """Finds what the drawing modules need by passes with some of the modules in training mode.

    Args:
        watch: one pass.
        seen: the pass in which everything drew.
        known: dropouts, which are in training mode in any case.
        candidates: what was in training mode in that pass.
    """

    def __init__(self, watch: Pass, seen: Watch, known: Collection[nn.Module], candidates: Sequence[nn.Module]) -> None:
        self.watch, self.seen, self.known, self.candidates = watch, seen, frozenset(known), candidates
        #: modules with which everything was seen to draw
        self.suffices: frozenset[nn.Module] | None = None
        self._passes: dict[nn.Module, int] = {}

    def search(self) -> dict[nn.Module, list[nn.Module]]:
        """Drawing module -> the others that must be in training mode as well: its callers, or any others."""
        needed, silent = self._of_callers()
        self.suffices = None if silent else frozenset(self._active(needed))
        silent = self.silent(self._active(needed), silent)
        found: list[nn.Module] = []
        for module in silent:
            needed[module] = []
        while silent:
            first = silent[0]
            needed[first] = self.further(first, self._active(needed), found) or []
            found += [m for m in needed[first] if m not in found]
            still = self.silent(self._active(needed), silent[1:])
            for module in silent[1:]:
                if module not in still:  # it asked the same ones
                    needed[module] = list(needed[first])
            silent = still
        return needed

    def silent(self, active: Iterable[nn.Module], modules: Iterable[nn.Module]) -> list[nn.Module]:
        """Which of these modules do not draw all that they can; one that seldom does is not counted."""
        left, active, done = list(modules), set(active), 0
        drawn: dict[nn.Module, set[str]] = {m: set() for m in left}
        while left:
            try:
                draws = self.watch(active, done).draws
            except Exception:
                return left
            done += 1
            for module in left:
                drawn[module] |= draws.get(module, set())
            left = [m for m in left if not drawn[m] >= self.seen.draws[m]]
            if left and not self._passes:
                self._passes = self._passes_needed()
            left = [m for m in left if self._passes[m]]
            if left and done >= max(self._passes[m] for m in left):
                break
        return left

    def _passes_needed(self) -> dict[nn.Module, int]:
        """Drawing module -> passes until it has drawn, as what is run may depend on the draws; 0 for too many."""
        hits = dict.fromkeys(self.seen.draws, 0)
        for seed in range(_TRIALS):
            draws = self.watch(self.candidates, seed).draws
            for module in hits:
                hits[module] += draws.get(module, set()) >= self.seen.draws[module]
        passes = {
            m: 1 if n == _TRIALS else ceil(log(_MISTAKEN) / log(1 - max(n, 1) / _TRIALS)) for m, n in hits.items()
        }
        return {m: n if n <= _MOST_PASSES else 0 for m, n in passes.items()}

    def further(
        self, module: nn.Module, active: Collection[nn.Module], first: Iterable[nn.Module] = ()
    ) -> list[nn.Module] | None:
        """A few modules that must be in training mode besides the active ones; None if none are found.

        Args:
            module: it draws only when they are.
            active: what is in training mode already.
            first: what is tried first.
        """
        callers = reversed(self.seen.callers[module])
        ordered = dict.fromkeys([*first, *callers, *self.candidates])
        left = [m for m in ordered if m not in active and m is not module]
        base = {*active, module, *parts_of_script(module)}
        found = parts_of_script(module)
        while self.silent(base, [module]):
            if len(found) > _MOST or self.silent(base.union(left), [module]):
                return None
            below, enough = 0, len(left)
            while enough - below > 1:  # the shortest beginning that is enough ends in one that is needed
                middle = (below + enough) // 2
                if self.silent(base.union(left[:middle]), [module]):
                    below = middle
                else:
                    enough = middle
            found.append(left[enough - 1])
            base.add(left[enough - 1])
            left = left[: enough - 1]
        return found

    def _active(self, needed: dict[nn.Module, list[nn.Module]]) -> set[nn.Module]:
        return {m for module, others in needed.items() for m in (module, *others)} | self.known

    def _of_callers(self) -> tuple[dict[nn.Module, list[nn.Module]], list[nn.Module]]:
        """Drawing module -> the callers that are needed, innermost first; and those that did not draw with all of them."""
        needed = {m: parts_of_script(m) for m in self.seen.draws}
        callers = {m: list(reversed(self.seen.callers[m])) for m in self.seen.draws}
        while True:
            try:
                draws = self.watch(self._active(needed), 0).draws
            except Exception:
                draws = {}
            silent = [m for m in needed if not draws.get(m, set()) >= self.seen.draws[m]]
            missing = [m for m in silent if callers[m]]
            if not missing:
                return needed, silent
            for module in missing:
                needed[module].append(callers[module].pop(0))


def parts_of_script(module: nn.Module) -> list[nn.Module]:
    """The modules within a scripted one, which draw in its name."""
    if not isinstance(module, torch.jit.ScriptModule):
        return []
    return [m for m in module.modules() if m is not module and not keeps_statistics(m)]


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a scripted module has running statistics, as batch normalization has."""
    return isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.buffers(recurse=False))
