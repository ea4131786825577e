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
        self._paths: list[tuple[str, list[tuple[nn.Module, str, nn.Module]]]] = []
        for name in names:
            parent, path = model, []
            for step in name.split(".") if name else ():
                child = parent._modules[step]
                assert child is not None
                path.append((parent, step, child))
                parent = child
            self._paths.append((name, path))
            found |= {(id(each), step): (each, step, child) for each, step, child in path}
        self._steps = list(found.values())

    @property
    def broken(self) -> bool:
        """Whether a module on one of the paths was replaced or removed."""
        return any(parent._modules.get(step) is not child for parent, step, child in self._steps)

    def wrapped(self) -> list[str] | None:
        """The names now, if what stands where a path is broken has the module in it; None if one was replaced.

        Example:
            >>> model = nn.Sequential(nn.Linear(3, 2))
            >>> links = Links(model, ["0"])
            >>> model[0] = nn.Sequential(nn.ReLU(), model[0])
            >>> links.wrapped()
            ['0.1']
        """
        names = [_wrapped(name, path) for name, path in self._paths]
        return [name for name in names if name is not None] if None not in names else None


def _wrapped(name: str, path: list[tuple[nn.Module, str, nn.Module]]) -> str | None:
    steps: list[str] = []
    for parent, step, child in path:
        steps.append(step)
        now = parent._modules.get(step)
        if now is not child:
            inside = () if now is None else now.named_modules()
            at = next((at for at, module in inside if module is path[-1][2]), None)
            return None if at is None else ".".join([*steps, *([at] if at else [])])
    return name


def names_of(model: nn.Module, modules: Iterable[nn.Module]) -> list[str]:
    """All names that the modules have in a model."""
    wanted = {id(module) for module in modules}
    return [name for name, module in model.named_modules(remove_duplicate=False) if id(module) in wanted]
