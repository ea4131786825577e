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
#: torch's dropouts, whose counterparts compute in their place
_TORCHS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
#: layers whose fused evaluation pass leaves their dropouts out
_FUSED = (nn.TransformerEncoderLayer, nn.TransformerEncoder)


def layers_with_dropout_inside(model: nn.Module) -> list[nn.Module]:
    """Layers that drop something in a way of their own: attention, recurrent ones, dropouts with another forward."""
    found = [module for module in model.modules() if isinstance(module, _WITH_DROPOUT_INSIDE) and module.dropout > 0]
    others = [module for module in model.modules() if isinstance(module, _DropoutNd)]
    return [*found, *(module for module in others if type(module).forward not in [kind.forward for kind in _TORCHS])]


def dropouts(model: nn.Module) -> dict[str, nn.Module]:
    """The dropouts in a model, regtorch's and torch's, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Noise) or type(module).forward in [kind.forward for kind in _TORCHS]
    }


def _strength(module: nn.Module) -> float:
    """How much a dropout does: its probability, or its noise's standard deviation."""
    return float(
        next((getattr(module, name) for name in ("drop_prob", "p", "std") if getattr(module, name, None)), 0.0)
    )


def has_dropout(model: nn.Module) -> bool:
    """Whether a model has a dropout that drops something."""
    drops = any(_strength(module) > 0 for module in dropouts(model).values())
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
                counterpart = convert_dropout(module)
                stand_ins[name] = counterpart  # type: ignore[assignment]
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
