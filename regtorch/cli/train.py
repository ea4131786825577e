"""``regtorch-train``: train one run, or a grid of them with ``-m``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from regtorch.cli.composition import compose, overrides_of, points
from regtorch.cli.validation import checkpoint_path, dataset, validate
from regtorch.errors import RegtorchError


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2, a failed run exit status 1."""
    overrides = overrides_of(sys.argv[1:])
    multirun = any(flag in sys.argv[1:] for flag in ("-m", "--multirun"))
    try:
        if overrides is not None:
            for point in points(overrides) if multirun else [overrides]:
                config = compose(point)
                if not _prints_only():
                    validate(config)
    except RegtorchError as error:
        sys.exit(_say(error))

    import hydra
    from omegaconf import DictConfig

    failures: list[str] = []

    @hydra.main(version_base="1.3", config_path="pkg://regtorch.conf", config_name="train")
    def train(config: DictConfig) -> Any:
        try:
            return _train(config, multirun)
        except RegtorchError as error:
            failures.append(str(error))
            return None

    train()
    if failures:
        for failure in failures:
            _say(failure)
        sys.exit(1)


def _prints_only() -> bool:
    return any(argument.split("=")[0] in ("--cfg", "-c") for argument in sys.argv[1:])


def _say(error: Any) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _train(config: Any, multirun: bool) -> Any:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    validate(plain)
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    typed = list(hydra_config.overrides.task)

    from regtorch.training.run import run

    results = run(plain, dataset(plain), folder, checkpoint_path(plain), typed)
    show(results, folder)
    return results["test"]["accuracy"]


def show(results: dict[str, Any], folder: Path) -> None:
    """Print a run's results as a short table, and where its folder is."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("", "accuracy", "loss", "nll", "brier", "ece"):
        table.add_column(column, justify="left" if not column else "right")
    for part in ("train_eval", "val", "test", "test_mc"):
        if values := results.get(part):
            table.add_row(part, *(f"{values[name]:.4f}" for name in ("accuracy", "loss", "nll", "brier", "ece")))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{results['epochs']} epochs, {results['seconds']:.1f} s, {results['parameters']:,} parameters", soft_wrap=True
    )
    console.print(str(folder), soft_wrap=True)


if __name__ == "__main__":
    main()
