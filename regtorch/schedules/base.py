"""The base of all schedules of strengths and probabilities."""

from __future__ import annotations

from regtorch.registry.configurable import Configurable


class Schedule(Configurable):
    """A factor that depends on the progress of the training. Subclass it and write `factor`.

    `regtorch.Scheduled` multiplies a penalty, or the probabilities of dropouts, by this factor.

    Example:
        >>> import regtorch
        >>> class Late(regtorch.Schedule):
        ...     def factor(self, progress):
        ...         return 1.0 if progress >= 0.5 else 0.0
        >>> Late().factor(0.75)
        1.0
    """

    def factor(self, progress: float) -> float:
        """The multiplier of the nominal value.

        Args:
            progress: finished fraction of the training, 0.0 (before the first step) to 1.0 (after the last).

        Returns:
            A finite number >= 0.
        """
        raise TypeError(f"{type(self).__qualname__} must define factor(progress)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"
