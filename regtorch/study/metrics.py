"""The metrics in the ``results.json`` of a finished run, and their better direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regtorch.errors import SettingError
from regtorch.registry import near


@dataclass(frozen=True)
class Metric:
    """One number of a run."""

    name: str  # its place in results.json: test.accuracy
    better: str | None  # higher, lower, or None if neither is better
    decimals: int = 4
    usual: bool = False  # whether a comparison shows it by default

    def of(self, results: Mapping[str, Any]) -> Any:
        """The value in a run's results; None if it is missing."""
        node: Any = results
        for part in self.name.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


#: the loss includes the recipe's own penalty, so losses of different recipes are not comparable
_MEASURED = {"accuracy": "higher", "loss": None, "nll": "lower", "brier": "lower", "ece": "lower"}

#: name -> metric, in the order in which a comparison shows them
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(Metric(f"test.{name}", better, usual=True) for name, better in _MEASURED.items()),
        *(Metric(f"test_mc.{name}", better, usual=True) for name, better in _MEASURED.items()),
        *(Metric(f"val.{name}", better) for name, better in _MEASURED.items()),
        # a regularized network should fit the training rows less well, so neither direction is better
        *(Metric(f"train_eval.{name}", None, usual=name == "accuracy") for name in _MEASURED),
        *(Metric(f"train.{name}", None) for name in ("loss", "data_loss", "penalty", "accuracy")),
        Metric("sparsity", None, usual=True),
        Metric("epochs", None, decimals=1),
        Metric("parameters", None, decimals=0),
        Metric("seconds", "lower", decimals=2, usual=True),
    )
}


def metrics_named(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names.

    Raises:
        SettingError: there is no such metric.

    Example:
        >>> metrics_named(["test.accuracy"])[0].better
        'higher'
    """
    chosen = []
    for name in names:
        if name not in METRICS:
            raise SettingError(f"metrics={name}: there is no such metric{near(name, METRICS)}")
        chosen.append(METRICS[name])
    return chosen
