"""``regtorch-curves``: draw the learning curves of finished runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from regtorch.errors import RegtorchError
from regtorch.study.curves import draw_curves


def main() -> None:
    """Draw the runs that are named on the command line into one picture."""
    parser = argparse.ArgumentParser(prog="regtorch-curves", description="Draw the learning curves of finished runs.")
    parser.add_argument("run", nargs="+", help="a run's folder, or LABEL=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the picture (.png, .svg, .pdf)")
    arguments = parser.parse_args()
    runs = {}
    for run in arguments.run:
        label, equals, folder = run.rpartition("=")
        runs[label if equals else Path(folder).name] = Path(folder)
    try:
        draw_curves(runs, arguments.out)
    except RegtorchError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: --out={arguments.out}: {error.strerror or error}")
    except ValueError as error:  # a type that matplotlib does not write
        sys.exit(f"error: --out={arguments.out}: {str(error).splitlines()[0]}")
    print(arguments.out)


if __name__ == "__main__":
    main()
