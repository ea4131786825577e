"""``regtorch-train``: train one run, or a grid of them with ``-m``."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from regtorch.cli.composition import compose, earlier_overrides, implied_overrides, overrides_of, points
from regtorch.cli.help import help_text
from regtorch.cli.validation import checkpoint_path, dataset, validate
from regtorch.errors import RegtorchError


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2, a failed run exit status 1."""
    try:
        sys.exit(_main())
    except RegtorchError as error:
        sys.exit(_say(error))
    except OSError as error:  # a run's folder that cannot be made, a disk that is full
        sys.exit(_say(f"{error.filename or 'writing'}: {error.strerror or error}"))
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)


def _main() -> int:
    if any(flag in sys.argv[1:] for flag in ("-h", "--help")):
        print(help_text())
        return 0
    overrides = overrides_of(sys.argv[1:])
    multirun = any(flag in sys.argv[1:] for flag in ("-m", "--multirun"))
    if overrides is not None:
        earlier = earlier_overrides(overrides)
        added = [*implied_overrides([*earlier, *overrides]), *earlier]
        sys.argv[1:] = [*added, *sys.argv[1:]]
        overrides = [*added, *overrides]
        for point in points(overrides) if multirun else [overrides]:
            config = compose(point)
            if not _prints_only():
                validate(config)

    import hydra
    from omegaconf import DictConfig

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us, instead of Hydra's printing them
    failures: list[str] = []

    @hydra.main(version_base="1.3", config_path="pkg://regtorch.conf", config_name="train")
    def train(config: DictConfig) -> Any:
        try:
            return _train(config, multirun)
        except RegtorchError as error:
            failures.append(str(error))
        except SystemExit as error:  # how Lightning ends on a signal
            _say("interrupted")
            sys.exit(143 if type(error).__name__ == "SIGTERMException" else 130)
        except Exception as error:
            _keep_traceback()
            failures.append(
                f"{type(error).__name__}: {str(error).strip() or 'no message'} (the traceback is in train.log)"
            )
        return None

    train()
    for failure in failures:
        _say(failure)
    return 1 if failures else 0


def _keep_traceback() -> None:
    """Into the run's log file, not onto the terminal."""
    log = logging.getLogger("regtorch")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "the run failed", (), sys.exc_info()))


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
