"""Components registered by the user's script: the other processes of a run or a sweep register them again."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from regtorch.registry import Component, is_registered, user_components
from regtorch.system.exit_status import CommandCalled, commands_end_the_script


@dataclass(frozen=True)
class UserScript:
    """A script, or a module run by ``python -m``, and the components that it registers.

    Args:
        place: path of the script, or name of the module.
        is_module: whether `place` is the name of a module.
        registers: (kind, name) of each component.
    """

    place: str
    is_module: bool
    registers: tuple[tuple[str, str], ...]

    def register_again(self) -> None:
        """Run the script up to its call of a regtorch command, unless its components are registered already."""
        if all(is_registered(kind, name) for kind, name in self.registers):
            return
        run: Any = runpy.run_module if self.is_module else runpy.run_path
        try:
            with commands_end_the_script():
                run(self.place, run_name="__regtorch_main__")
        except CommandCalled:
            pass

    def call(self, task: Callable[[Any], Any], config: Any) -> Any:
        """Return ``task(config)``, run with the script's components; this method can be pickled."""
        self.register_again()
        return task(config)


def user_script() -> UserScript | None:
    """The script of this process; None if it has registered no components or is not a file.

    Example:
        >>> user_script() is None or user_script().registers != ()
        True
    """
    components: Sequence[Component] = user_components()
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if not components or path is None:
        return None
    place = str(path) if spec is None else spec.name
    return UserScript(place, spec is not None, tuple((found.kind, found.name) for found in components))
