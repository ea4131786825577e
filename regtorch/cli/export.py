"""``regtorch-export``: write a finished run's network for programs without regtorch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.cli.help_page import print_requested_help
from regtorch.config.resources import check_holds
from regtorch.data.further_rows import NetworkInput
from regtorch.errors import DataError, SettingError
from regtorch.registry import near
from regtorch.runs import finished_run
from regtorch.runs.checkpoint_header import read_description
from regtorch.runs.data import dataset
from regtorch.settings import one_of
from regtorch.system.exit_status import exit_with
from regtorch.system.files import replaced
from regtorch.system.output import print_output
from regtorch.system.quoting import unquoted

_HELP = """\
Write a finished run's network in a format that does not need regtorch: regtorch-export run=FOLDER out=FILE

  run          the run folder that train.py wrote
  out          FILE.pt: the weights, with the names of regtorch.plain (torch.load(FILE, weights_only=True));
               FILE.pt2: the network, by torch.export (torch.export.load); FILE.onnx: the network, by torch.onnx
               (pip install 'regtorch[onnx]'); both take batches of any size
  checkpoint   best or last; default: the checkpoint that the run was evaluated on
  preprocess   true (the default): .pt2 and .onnx take rows as they are stored (float32; pixels from 0 to 255; images of a
               .npz in its layout), and scale and standardize them as in training; false: they take rows that are already
               scaled, images as (N, C, H, W). A .pt has only weights, which take scaled rows

The network has no dropout and returns logits. class_names, output_transform (softmax), preprocessing, mean and std, and for images
input_layout and stored_layout, are in the file's metadata: metadata_props of .onnx,
extra_files={"metadata.json": ""} of .pt2, ._metadata["regtorch"] of .pt.
"""
_KEYS = ("run", "out", "checkpoint", "preprocess")
_SUFFIXES = (".pt", ".pt2", ".onnx")


def main() -> None:
    """Run the command line. A user error prints one line and exits with 2."""
    exit_with(_main)


def _main() -> int:
    if print_requested_help(sys.argv[1:], lambda: _HELP):
        return 0
    given = _parsed(sys.argv[1:])
    run, out = Path(given["run"]), Path(given["out"])
    config = finished_run.configuration(run)
    checkpoint = finished_run.checkpoint(run, config, given.get("checkpoint"))
    preprocess = given.get("preprocess", "true") == "true"
    network = network_input(run, config, checkpoint, preprocess)
    if not out.parent.is_dir():
        raise SettingError(f"out={out}: there is no folder {out.parent}")
    if out.is_dir():
        raise SettingError(f"out={out} is a folder: it must be the name of a file")
    check_holds(checkpoint, config, network.shape, len(network.classes), f"run={run}")
    finished_run.warn_if_unfinished(run)
    try:
        _write(config, checkpoint, network, out, preprocess)
    except OSError as error:
        raise DataError(f"out={out} cannot be written: {error.strerror or error}") from error
    print_output(out)
    return 0


def _parsed(arguments: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in _KEYS:
            raise SettingError(f"{argument}: there is no such key{near(key, _KEYS)}")
        if key in given:
            raise SettingError(f"{argument} is not allowed: {key}={given[key]} is given too; give one of them")
        given[key] = unquoted(value)
    for key in ("run", "out"):
        if not given.get(key):
            raise SettingError(f"{key}= is missing: write run=FOLDER out=FILE")
    if Path(given["out"]).suffix not in _SUFFIXES:
        raise SettingError(f"out={given['out']} is not allowed: its name must end in {', '.join(_SUFFIXES)}")
    if "checkpoint" in given:
        one_of("best", "last").check("checkpoint", given["checkpoint"])
    if "preprocess" in given:
        one_of("true", "false").check("preprocess", given["preprocess"])
    return given


def network_input(run: Path, config: Mapping[str, Any], checkpoint: Path, preprocess: bool) -> NetworkInput:
    """Return the network's input as the checkpoint describes it; for older checkpoints, as the run's data describes it."""
    described = read_description(checkpoint)
    network = NetworkInput.of_checkpoint(described)
    if network is not None:
        return network
    if not preprocess:
        for key in ("shape", "classes"):
            if key not in described:
                raise DataError(f"{checkpoint} is damaged: it lacks regtorch.{key}")
        classes = int(described["classes"])
        return NetworkInput(tuple(described["shape"]), tuple(map(str, range(classes))))
    try:
        data = dataset(config)
        network = NetworkInput.of(data)
    except DataError as error:
        raise DataError(
            f"run={run}: {checkpoint.name} does not store how rows are scaled, and the run's data cannot be read ({error}); "
            "to export without scaling: preprocess=false"
        ) from error
    finished_run.check_fits(run, checkpoint, data)
    if data.preprocessing() is None:
        raise DataError(
            f"run={run}: data={config['data']['name']} prepares its rows in a way that cannot be exported; "
            "to export without it: preprocess=false"
        )
    return network


def _write(config: Mapping[str, Any], checkpoint: Path, network: NetworkInput, out: Path, preprocess: bool) -> None:
    from regtorch.training.build import load_weights, make_model
    from regtorch.training.classifier import Classifier
    from regtorch.training.export import export
    from regtorch.training.weights import check_finite_weights

    classes = len(network.classes)
    module = Classifier(make_model(config, network.shape, classes), classes)
    load_weights(module, checkpoint)
    check_finite_weights(module.model, checkpoint)
    try:
        with replaced(out) as temporary:
            export(module.model, network, temporary, preprocess=preprocess)
    except ImportError as error:
        raise DataError(f"out={out} needs packages that are not installed: pip install 'regtorch[onnx]'") from error


if __name__ == "__main__":
    main()
