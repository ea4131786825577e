"""``regtorch-curves``: draw the learning curves of finished runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import regtorch
from regtorch.errors import DataError, SettingError
from regtorch.study.curves import TABLE, draw_curves
from regtorch.study.results import sorted_folders
from regtorch.system.exit_status import exit_with
from regtorch.system.output import print_output


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message}; usage: regtorch-curves FOLDER ... --out FILE")


def main() -> None:
    """Draw the runs named on the command line into one figure."""
    exit_with(_main)


def _main() -> int:
    parser = _Parser(prog="regtorch-curves", description="Draw the learning curves of finished runs.")
    parser.add_argument("run", nargs="+", help="the folder of a run, a sweep or a study, or LABEL=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the figure's file (.png, .svg, .pdf)")
    parser.add_argument("--version", action="version", version=f"regtorch {regtorch.__version__}")
    arguments = parser.parse_args()
    runs: dict[str, Path] = {}
    for argument in arguments.run:
        label, folder = _labeled(argument)
        for name, path in _runs(label, folder).items():
            runs[_new(name, runs)] = path
    draw_curves(runs, arguments.out)
    print_output(arguments.out)
    return 0


def _labeled(argument: str) -> tuple[str, Path]:
    """Split LABEL=FOLDER. Both may contain ``=``, so the split is where the rest is an existing folder."""
    if "=" not in argument or _is_folder(Path(argument)):
        return Path(argument).name or argument, Path(argument)
    parts = argument.split("=")
    cuts = [("=".join(parts[:index]), "=".join(parts[index:])) for index in range(1, len(parts))]
    label, folder = next((cut for cut in cuts if cut[1] and _is_folder(Path(cut[1]))), cuts[-1])
    if not (label and folder):
        raise SettingError(f"{argument} is not allowed: it must be a folder, or LABEL=FOLDER")
    return label, Path(folder)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # longer than a file name may be
        return False


def _runs(label: str, folder: Path) -> dict[str, Path]:
    """Find the runs in a folder and its subfolders, as regtorch-compare does: label -> folder.

    Raises:
        DataError: there are none.
    """
    if not _is_folder(folder):
        raise DataError(f"run={folder}: there is no such folder; it must be that of a run, a sweep or a study")
    if (folder / TABLE).is_file():
        return {label: folder}
    below = sorted_folders(folder, TABLE)
    if not below:
        raise DataError(f"run={folder}: there is no {TABLE} in it or below it; is it the folder of a run?")
    return {f"{label}/{path.relative_to(folder)}": path for path in below}


def _new(label: str, labels: dict[str, Path]) -> str:
    """Make a label unique, because different runs may have folders of the same name."""
    number, new = 2, label
    while new in labels:
        number, new = number + 1, f"{label} ({number})"
    return new


if __name__ == "__main__":
    main()
