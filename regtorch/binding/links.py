"""The paths from a model to some of its modules, to detect replaced modules."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class Links:
    """The paths from a model to some of its modules; `broken` costs one dictionary lookup per path segment.

    Args:
        model: any module.
        names: the modules' names in it, as returned by ``named_modules``.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2))
        >>> links = Links(model, ["0"])
        >>> model[0] = nn.Linear(3, 2)
        >>> links.broken
        True
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        found: dict[tuple[int, str], tuple[nn.Module, str, nn.Module]] = {}
        for name in names:
            parent = model
            for step in name.split(".") if name else ():
                child = parent._modules[step]
                assert child is not None
                found[id(parent), step] = (parent, step, child)
                parent = child
        self._steps = list(found.values())

    @property
    def broken(self) -> bool:
        """Whether a module on one of the paths was replaced or removed."""
        return any(parent._modules.get(step) is not child for parent, step, child in self._steps)


def names_of(model: nn.Module, modules: Iterable[nn.Module]) -> list[str] | None:
    """The first name of each module in a model; None if the model does not contain all of them."""
    names: dict[int, str] = {}
    for name, module in model.named_modules():
        names.setdefault(id(module), name)
    found = [names.get(id(module)) for module in modules]
    return [name for name in found if name is not None] if None not in found else None
