"""Whether the samples of a batch differ: samples that are identical in all rows mean that nothing is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import NothingBoundError
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.dropouts import noise_of, strength
from regtorch.mc.execute import Executor
from regtorch.mc.output_selection import Output
from regtorch.mc.output_transform import Transform, outcome
from regtorch.mc.partition import Partition, Values
from regtorch.mc.sampler import Sampler

#: samples that are looked at where all that were asked for are identical
_FURTHER_SAMPLES = 256
#: dropouts below this strength may drop nothing in all of these
_SELDOM = 0.01
#: names of layers or parameters that a message lists at most
_LISTED = 5


def check_samples_differ(
    model: nn.Module,
    sampler: Sampler,
    part: Partition,
    finish: Callable[[Any], Tensor],
    batch: BatchArgs,
    noise: Sequence[str],
) -> str:
    """Raise where further samples of a batch are identical, too; otherwise return what to warn of, if anything.

    A module that seldom drops may have dropped nothing in the samples so far, and rows may have nothing that noise acts on,
    such as rows of zeros: then samples of other numbers differ.

    Args:
        model: the model, with its noise on.
        sampler: draws the noise.
        part: how the model is run.
        finish: turns its outputs into what is compared.
        batch: rows that were run together.
        noise: names of the modules that draw, for the message.

    Raises:
        NothingBoundError: they are identical, whatever the numbers in the batch.
    """
    runner = Executor(model, sampler, part, finish)
    if _differ(runner, runner.run_upstream(batch), batch.rows):
        return ""
    name = type(model).__name__
    try:
        others = batch.shaken()
        differ = _differ(runner, runner.run_upstream(others), batch.rows)
    except Exception:  # such numbers may not be allowed
        differ = False
    if differ:
        return (
            f"all samples of {name} are identical in all {batch.rows} rows of a batch, though those of other numbers "
            "differ: noise has nothing to act on in these rows, such as in rows of zeros"
        )
    if seldom := _seldom(model, noise):
        return f"all samples of {name} are identical in all rows: {seldom}, and dropped nothing in any of them"
    raise NothingBoundError(
        f"all samples of {name} are identical in all rows: nothing is sampled, though random numbers are drawn in "
        f"{_listed(noise)}{_zeros(model)}"
    )


def compared(transform: Transform, select: Output, class_dim: int | None, finish: Callable[[Any], Tensor]) -> Any:
    """What turns outputs into what is compared: softmax and sigmoid round large logits to 0 and 1, so logits are."""
    if transform not in ("softmax", "sigmoid"):
        return finish
    return lambda output: outcome(output, None, select, class_dim)


def nothing_sampled(model: nn.Module) -> str:
    """The error message for a model in which nothing is sampled."""
    return (
        f"{type(model).__name__} has no dropout that drops something, regtorch's or torch's, as a layer, within one or as a "
        "call, and draws no other random numbers that reach its output: there is nothing to sample; "
        "regtorch.mc.count_as_dropout makes a class count"
    )


def _differ(runner: Executor, values: Values, rows: int) -> bool:
    """Whether any of some samples differs from the first."""
    samples = (runner.run_downstream(values, range(t, t + 1), rows) for t in range(_FURTHER_SAMPLES))
    first = next(samples).clone()  # a model may give the same memory in every pass
    return any(not torch.equal(first, sample) for sample in samples)


def _seldom(model: nn.Module, noise: Sequence[str]) -> str:
    """How seldom the dropouts drop, if all of the noise is of dropouts that hardly ever do."""
    modules = dict(model.named_modules())
    found = [modules.get(name) for name in noise]
    strengths = [strength(m) for m in found if m is not None and noise_of(m) is not None]
    if len(strengths) < len(noise) or max(strengths) >= _SELDOM:
        return ""
    return f"its dropouts ({_listed(noise)}) drop with a probability of at most {max(strengths):g}"


def _zeros(model: nn.Module) -> str:
    """Which layers' weights are all zero, as those of a head that was not trained yet."""
    layers = [(name, layer) for name, layer in model.named_modules() if not list(layer.children())]
    zeros = [
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in layers
        for name, weight in layer.named_parameters(recurse=False)
        if weight.ndim > 1 and not weight.any()
    ]
    if not zeros:
        return ""
    return f"; no noise gets through weights of zeros, as in a head that is not trained yet: {_listed(zeros)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
