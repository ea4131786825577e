"""Dropout on and everything else in eval mode, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from regtorch.dropout.base import Noise
from regtorch.dropout.convert import convert_dropout
from regtorch.errors import NothingBoundError

#: starts the masks of one sample: (seed, sample) -> None
Draw = Callable[[int, int], None]


#: layers with a dropout of their own inside, which works while they are in training mode
_WITH_DROPOUT_INSIDE = (nn.MultiheadAttention, nn.RNNBase)
#: layers whose fused evaluation pass leaves their dropouts out
_FUSED = (nn.TransformerEncoderLayer, nn.TransformerEncoder)


def layers_with_dropout_inside(model: nn.Module) -> list[nn.Module]:
    """Attention and recurrent layers that drop something."""
    found = [module for module in model.modules() if isinstance(module, _WITH_DROPOUT_INSIDE)]
    return [module for module in found if module.dropout > 0]  # type: ignore[operator]


def dropouts(model: nn.Module) -> dict[str, nn.Module]:
    """The dropouts in a model, regtorch's and torch's, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, (Noise, _DropoutNd))}


def has_dropout(model: nn.Module) -> bool:
    """Whether a model has a dropout that drops something."""
    drops = any(getattr(module, "drop_prob", getattr(module, "p", 1.0)) > 0 for module in dropouts(model).values())
    return drops or bool(layers_with_dropout_inside(model))


@contextmanager
def switched_on(model: nn.Module, shared: bool = True) -> Iterator[Draw]:
    """Put the model into eval mode with its dropouts on; modes are as before afterwards, also after an exception.

    Yields a function that starts the masks of one sample: each dropout then draws from a generator of its own, which
    depends on the seed, the dropout's name and the sample's number alone, and not from torch's global one. Attention
    and recurrent layers drop inside torch's own kernels, which take the global one: there each row draws for itself,
    reproducibly for the same batch, and the global state is put back afterwards.

    Args:
        model: any module with dropout.
        shared: one mask for all rows of a batch.

    Raises:
        NothingBoundError: the model has no dropout.
    """
    found = dropouts(model)
    inside = layers_with_dropout_inside(model)
    if not found and not inside:
        raise NothingBoundError(
            f"{type(model).__name__} has no dropout layer, regtorch's or torch's: there is nothing to sample"
        )
    modes = {module: module.training for module in model.modules()}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    generators = {name: torch.Generator(device) for name in found}
    stand_ins: dict[str, Noise] = {}
    borrowed: list[nn.Module] = []

    def draw(seed: int, sample: int) -> None:
        for name, generator in generators.items():
            generator.manual_seed(_mixed(seed, name, sample))
        if inside:
            torch.manual_seed(_mixed(seed, "", sample))

    forked = torch.random.fork_rng(enabled=bool(inside))
    try:
        forked.__enter__()
        model.eval()
        for module in (*inside, *(module for module in modes if isinstance(module, _FUSED))):
            module.training = True
        for name, module in found.items():
            if isinstance(module, Noise):
                stand_ins[name] = module
            else:  # one of torch's: its counterpart computes in its place
                counterpart: Noise = convert_dropout(module)  # type: ignore[assignment]
                stand_ins[name] = counterpart
                module.forward = counterpart.forward
                borrowed.append(module)
            stand_ins[name].train()
            module.training = True
            stand_ins[name].generator, stand_ins[name].shared = generators[name], shared
        yield draw
    finally:
        forked.__exit__(None, None, None)
        for module in borrowed:
            del module.forward
        for module in stand_ins.values():
            module.generator, module.shared = None, False
        for module, mode in modes.items():
            module.training = mode


def _mixed(seed: int, name: str, sample: int) -> int:
    """A seed for one dropout's masks of one sample."""
    digest = blake2b(f"{seed}/{name}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
