"""``regtorch-export``: a finished run's network, for programs that have no regtorch."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from regtorch.cli import run_folder
from regtorch.cli.checkpoint import described_model
from regtorch.cli.exit_status import exit_with
from regtorch.errors import DataError, SettingError
from regtorch.files import replaced
from regtorch.registry import near
from regtorch.settings import one_of

_HELP = """\
Write a finished run's network in a form that needs no regtorch: regtorch-export run=FOLDER out=FILE

  run          the folder that train.py made
  out          FILE.pt: the weights, under the names that regtorch.plain gives them (torch.load(FILE, weights_only=True));
               FILE.pt2: the network, by torch.export (torch.export.load); FILE.onnx: the network, by torch.onnx
               (pip install 'regtorch[onnx]'); both take batches of any size
  checkpoint   best or last; default: the one that the run was measured on

It has no dropout and gives logits. Rows go in as in training: where data.standardize is not none, standardised.
"""
_SUFFIXES = (".pt", ".pt2", ".onnx")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    exit_with(_main)


def _main() -> int:
    if any(flag in sys.argv[1:] for flag in ("-h", "--help")):
        print(_HELP, end="")
        return 0
    given = _parsed(sys.argv[1:])
    run, out = Path(given["run"]), Path(given["out"])
    config = run_folder.configuration(run)
    checkpoint = run_folder.checkpoint(run, config, given.get("checkpoint"))
    described = described_model(checkpoint)
    if not out.parent.is_dir():
        raise SettingError(f"out={out}: there is no folder {out.parent}")
    if out.is_dir():
        raise SettingError(f"out={out} is a folder: it must be the name of a file")
    run_folder.warn_if_unfinished(run)
    try:
        _write(config, checkpoint, tuple(described["shape"]), described["classes"], out)
    except OSError as error:
        raise DataError(f"out={out} cannot be written: {error.strerror or error}") from error
    print(out)
    return 0


def _parsed(arguments: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in ("run", "out", "checkpoint"):
            raise SettingError(f"{argument}: there is no such key{near(key, ['run', 'out', 'checkpoint'])}")
        if key in given:
            raise SettingError(f"{argument}: {key}={given[key]} is given too; give one of them")
        given[key] = value
    for key in ("run", "out"):
        if not given.get(key):
            raise SettingError(f"{key}= is missing: say run=FOLDER out=FILE")
    if Path(given["out"]).suffix not in _SUFFIXES:
        raise SettingError(f"out={given['out']} is not allowed: its name must end in {', '.join(_SUFFIXES)}")
    if "checkpoint" in given:
        one_of("best", "last").check("checkpoint", given["checkpoint"])
    return given


def _write(config: dict[str, Any], checkpoint: Path, shape: tuple[int, ...], classes: int, out: Path) -> None:
    import torch

    from regtorch.plain_torch import plain
    from regtorch.training.classifier import Classifier
    from regtorch.training.run import load_weights, make_model

    module = Classifier(make_model(config, shape, classes), classes)
    load_weights(module, checkpoint)
    model, rows = plain(module.model), torch.zeros(2, *shape)
    any_size = {0: torch.export.Dim("batch")}
    with replaced(out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if out.suffix == ".pt":
            torch.save(model.state_dict(), temporary)
        elif out.suffix == ".pt2":
            torch.export.save(torch.export.export(model, (rows,), dynamic_shapes=(any_size,)), temporary)
        else:
            try:
                torch.onnx.export(
                    model, (rows,), temporary, dynamo=True, input_names=["x"], output_names=["logits"],
                    dynamic_shapes=(any_size,), external_data=False, verbose=False,
                )  # fmt: skip
            except ImportError as error:
                raise DataError(f"out={out} needs packages that are not there: pip install 'regtorch[onnx]'") from error


if __name__ == "__main__":
    main()
