"""How batches of one kind are sampled, kept for the next batch of that kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.dropout.base import Noise
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.model_state import numbers, numbers_in
from regtorch.mc.noise_sites import NoiseFound
from regtorch.mc.partition import Partition
from regtorch.mc.sampler import Sampler

#: plans that are kept, one for each shape and type of rows
_KEPT = 8


@dataclass
class Plan:
    """How batches of one kind are sampled.

    Args:
        partition: the model's graph, divided at its noise.
        sampler: draws the noise.
        found: the modules that draw.
        finish: turns the model's outputs into predictions.
        kind: of the batches.
    """

    partition: Partition
    sampler: Sampler
    found: NoiseFound
    finish: Callable[[Any], Tensor]
    kind: object = None

    @property
    def is_native(self) -> bool:
        """Whether the model's own code may draw, from torch's generator that is seeded for each sample."""
        part = self.partition
        if (
            part.folds_samples
            or part.watches_all
            or not (part.fixed or part.is_single)
            or not self.sampler.draws_natively
        ):
            return False
        noises = [module for module in self.found.active if isinstance(module, Noise)]
        return not any(noise.generator is not None or noise.shared for noise in noises)


class PlanCache:
    """The plans for the last kinds of batches of a model."""

    def __init__(self) -> None:
        self._plans: dict[object, Plan] = {}
        self._numbers: dict[object, object] = {}
        self._made_for: object = None

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def last(self) -> Plan | None:
        """The plan that was used last."""
        return next(reversed(self._plans.values()), None)

    def find(self, model: nn.Module, batch: BatchArgs, made_for: object) -> Plan | None:
        """The plan for a batch; None if there is none, or none that still holds.

        Args:
            model: the model.
            batch: the batch.
            made_for: the structure of the model and the settings; plans for others are forgotten.
        """
        if made_for != self._made_for:
            self._plans, self._numbers, self._made_for = {}, {}, made_for
        kind = _kind(batch)
        for key in (kind, (kind, batch.shapes())):
            plan = self._plans.pop(key, None)
            if plan is None:
                continue
            if self._numbers.get(key) != _numbers(plan, model):
                continue  # the graph holds values that were computed from the model's numbers when it was traced
            self._plans[key] = plan  # the last one used is the last in order
            return plan
        return None

    def add(self, plan: Plan, batch: BatchArgs) -> None:
        """Keep a plan for batches like this one."""
        kind = _kind(batch)
        self.replace((kind, batch.shapes()) if plan.partition.fixed else kind, plan)
        for old in list(self._plans)[:-_KEPT]:
            self.discard(old)

    def replace(self, kind: object, plan: Plan) -> None:
        """Keep a plan for a kind of batches, in place of the one before."""
        plan.kind = kind
        self._plans[kind] = plan

    def discard(self, kind: object) -> None:
        """Forget a plan."""
        self._plans.pop(kind, None)
        self._numbers.pop(kind, None)

    def note_numbers(self, plan: Plan, model: nn.Module) -> None:
        """Note the numbers of the model that a plan was used with."""
        self._numbers[plan.kind] = _numbers(plan, model)


def _numbers(plan: Plan, model: nn.Module) -> object:
    """The numbers that are in a plan's graph as they were when it was made."""
    graph = plan.partition.model_graph
    return numbers(model) if graph.constants else None, numbers_in(graph.sources)


def _kind(batch: BatchArgs) -> object:
    device = batch.first.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return (*batch.kind(), autocast and torch.get_autocast_dtype(device))
