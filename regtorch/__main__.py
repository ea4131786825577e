"""``python -m regtorch --version``: the version, and the names of the commands; imports no torch."""

from __future__ import annotations

import argparse

import regtorch

_COMMANDS = """\
commands:
  regtorch-train     train a network, or a sweep of networks
  regtorch-predict   predict with a trained network
  regtorch-compare   compare recipes over several seeds
  regtorch-curves    draw the learning curves of runs
  regtorch-export    write a trained network to a file
  regtorch-plugins   list the installed plugins
"""


def main() -> None:
    """Print the version or the commands."""
    parser = argparse.ArgumentParser(
        prog="python -m regtorch",
        description="Keras-style regularization for PyTorch.",
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"regtorch {regtorch.__version__}")
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    main()
