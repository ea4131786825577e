"""Seconds of a complete process of the command line: ``python benchmarks/startup.py``. Budget: 0.8 s each."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from side_by_side import milliseconds

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
CASES = {
    "--help": ["--help"],
    "--cfg job": ["--cfg", "job"],
    "an error": ["regularizer=l3"],
    "an invalid value": ["data.batch_size=0"],
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()

    def run(arguments: list[str]) -> object:
        return subprocess.run([sys.executable, str(TRAIN), *arguments], capture_output=True)

    times = milliseconds(5, *(lambda arguments=arguments: run(arguments) for arguments in CASES.values()))
    for name, taken in zip(CASES, times, strict=True):
        print(f"{name:16} {taken / 1000:.2f} s")


if __name__ == "__main__":
    main()
